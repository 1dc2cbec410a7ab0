import type { Report, ReportOptions } from "./report/options.js";

export type {
  PublishedPoint,
  Report,
  ReportData,
  ReportFigure,
  ReportOptions,
  ReportTable,
} from "./report/options.js";

/**
 * Draws what `compress` did, from the files that it left beside the weights.
 *
 * @throws PenjingError for a folder whose run is not finished, that is no result, or that another version
 *   wrote, and for damaged files and points
 */
export async function report(options: ReportOptions): Promise<Report> {
  // Loaded when it is called for: programs that only compress or run models need none of it.
  const { makeReport } = await import("./report/reporter.js");
  return makeReport(options);
}
