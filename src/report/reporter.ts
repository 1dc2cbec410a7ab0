import { ANY, type Arguments, checkArguments, FOLDER, required } from "../arguments.js";
import { PenjingError } from "../errors.js";
import { VERSION } from "../version.js";
import type { Figure } from "./figure.js";
import { bytesFigure } from "./figures/bytes.js";
import { layerErrorFigure } from "./figures/layer-error.js";
import { perplexityFigure } from "./figures/perplexity.js";
import { qualityFigure } from "./figures/quality.js";
import { residualErrorFigure } from "./figures/residual-error.js";
import { rotationFigure } from "./figures/rotation.js";
import { timeFigure } from "./figures/time.js";
import type { Report, ReportFigure, ReportOptions } from "./options.js";
import { pageMarkup } from "./page.js";
import { checkPoints } from "./points.js";
import { readResult } from "./read.js";
import type { Result } from "./result.js";
import { summaryTable } from "./summary.js";

const ARGUMENTS: Arguments<ReportOptions> = {
  folders: required({
    what: "a list of folders: paths, or open ones",
    fits: (value) => Array.isArray(value) && value.every(FOLDER.fits),
  }),
  points: ANY,
};

/** Results with names that tell them apart. */
function named(results: readonly Result[]): Result[] {
  const seen = new Map<string, number>();
  return results.map((result) => {
    const count = (seen.get(result.name) ?? 0) + 1;
    seen.set(result.name, count);
    return count === 1 ? result : { ...result, name: `${result.name} (${count})` };
  });
}

/** What of a figure is no markup. */
function dataOf({ panels, ...figure }: Figure): ReportFigure {
  const tables = panels.map(({ result, note, table }) => ({
    ...(result !== undefined && { result }),
    ...(note !== undefined && { note }),
    ...table,
  }));
  return { ...figure, tables };
}

/** The whole of `report`. */
export async function makeReport(options: ReportOptions): Promise<Report> {
  checkArguments("report", options, ARGUMENTS);
  if (options.folders.length === 0) {
    throw new PenjingError("folders", "there is nothing to report; give at least one folder.");
  }
  const read: Result[] = [];
  for (const folder of options.folders) read.push(await readResult(folder));
  const results = named(read);
  const points = checkPoints(options.points ?? [], "points");
  const figures = [
    layerErrorFigure(results),
    residualErrorFigure(results),
    bytesFigure(results),
    perplexityFigure(results),
    rotationFigure(results),
    timeFigure(results),
    qualityFigure(results, points),
  ];
  const names = results.map(({ name }) => name).join(", ");
  const summary = summaryTable(results);
  const data = { penjing: VERSION, summary, figures: figures.map(dataOf) };
  const title = `Compression report: ${names}`;
  return { data, html: await pageMarkup({ title, summary, figures, data, version: VERSION }) };
}
