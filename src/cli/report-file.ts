import { rename, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { parseJson } from "../checkpoint/json.js";
import type { EvaluationReport } from "../compress/run-report.js";
import { PenjingError } from "../errors.js";
import { REPORT_FILE } from "../models/written.js";
import { openDiskFiles } from "../platform/disk.js";
import { realTarget } from "../platform/disk-output.js";
import { fileError } from "../platform/file-errors.js";
import { openFolder } from "../platform/files.js";

/** Longest report of a run that is read, in bytes, and how deep its JSON is nested. */
const MOST_BYTES = 100_000_000;
const MOST_DEPTH = 16;

/** How a page is written. */
export interface PageOptions {
  /** Replace a file of this name. @default false */
  readonly force?: boolean | undefined;
}

/**
 * Looks whether a page can be written, and leaves nothing there.
 *
 * @throws PenjingError when it cannot
 */
export async function checkPage(path: string, options: PageOptions): Promise<void> {
  if (path.trim() === "")
    throw new PenjingError("report", "its name is empty; give a file's name.");
  // What else stands there, such as a model's config.json, is nothing that a page replaces.
  if (!/\.html?$/i.test(path)) {
    throw new PenjingError(path, "a report is a web page; give a name that ends in .html.");
  }
  const output = await openDiskFiles(path, options);
  await output.discard();
}

/** Writes a page under its name once it is whole. */
export async function writePage(path: string, html: string, options: PageOptions): Promise<void> {
  const output = await openDiskFiles(path, options);
  try {
    await output.writeText(basename(await realTarget(path)), html);
    await output.commit();
  } finally {
    // After a commit this does nothing.
    await output.discard();
  }
}

/** Adds to what a result's folder says of its run how good the model was before and after. */
export async function addEvaluation(
  out: string,
  { before, after }: EvaluationReport,
): Promise<void> {
  const folder = await openFolder(out);
  const path = join(folder.path, REPORT_FILE);
  const report = parseJson(await folder.readText(REPORT_FILE, MOST_BYTES), path, MOST_DEPTH);
  const partial = `${path}.partial`;
  try {
    await writeFile(
      partial,
      `${JSON.stringify({ ...(report as object), evaluation: { before, after } }, null, 2)}\n`,
    );
    await rename(partial, path);
  } catch (error) {
    await rm(partial, { force: true });
    throw fileError(path, "adding the perplexity", error);
  }
}
