import type { Command } from "commander";
import { openFile, readSmallText } from "../platform/files.js";
import { refuseOverlap } from "../platform/overlap.js";
import { readPoints } from "../report/points.js";
import { type PublishedPoint, report } from "../report.js";
import { type PrintOptions, print, printJson, table } from "./console.js";
import { checkPage, writePage } from "./report-file.js";

interface ReportFlags extends PrintOptions {
  readonly html?: string;
  readonly points?: string;
  readonly force?: boolean;
}

/** Longest file of points that is read, in bytes. */
const MOST_BYTES = 10_000_000;

const EXAMPLES = `
Examples:
  $ penjing report llama-24/ --html report.html
  $ penjing report llama-24/ llama-q4/ llama-24-q4/ --html report.html
  $ penjing report llama-24/ llama-q4/ --points papers.json --html report.html
  $ penjing report llama-24/ --json

A file of points: [{ "name": "AWQ", "bytes": 3.9e9, "perplexity": 6.1, "source": "arXiv 2306.00978" }]
`;

export function addReport(program: Command): void {
  program
    .command("report")
    .description("draw what compress did: errors, bytes, perplexity and times, as one web page")
    .argument("<folders...>", "folders that compress wrote; several are shown side by side")
    .option("--html <file>", "page to write (default: none, the summary is printed)")
    .option(
      "--points <file>",
      "JSON with what others published, to compare with: a list of { name, bytes, perplexity, source } (default: none)",
    )
    .option("--force", "replace the page when it exists")
    .option("--json", "print one JSON document with all tables instead of text")
    .option("--verbose", "print stack traces of errors")
    .addHelpText("after", EXAMPLES)
    .action(run);
}

async function readPointsFile(path: string): Promise<readonly PublishedPoint[]> {
  const source = await openFile(path);
  try {
    return readPoints(await readSmallText(source, MOST_BYTES), path);
  } finally {
    await source.close();
  }
}

async function run(folders: readonly string[], flags: ReportFlags): Promise<void> {
  const { html: path, force } = flags;
  if (path !== undefined) {
    if (flags.points !== undefined) await refuseOverlap(path, flags.points);
    await checkPage(path, { force });
  }
  const points = flags.points === undefined ? undefined : await readPointsFile(flags.points);
  const { html, data } = await report({ folders, points });
  if (path !== undefined) await writePage(path, html, { force });
  if (flags.json) {
    printJson(data);
    return;
  }
  if (path === undefined) print(table([data.summary.columns, ...data.summary.rows]));
  else print(`written to   ${path}`);
}
