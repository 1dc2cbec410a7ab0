// Stands in for reporter.ts in the bundle for workerd, which is one file: reports are drawn elsewhere.
import { PenjingError } from "../errors.js";
import type { Report, ReportOptions } from "./options.js";

export async function makeReport(_: ReportOptions): Promise<Report> {
  throw new PenjingError(
    "report",
    "this build of penjing draws no reports; use `penjing report`, or the package's other builds.",
  );
}
