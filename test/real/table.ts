// The figures of docs/models.json, and the table of docs/models.md that is made of them.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { repositoryRoot } from "../shared.js";
import type { RealResult } from "./runs.js";

export interface RecordedFigures {
  /** On which the minutes and the memory were measured. */
  readonly processor: string;
  readonly results: Readonly<Record<string, RealResult>>;
}

const FIGURES = join(repositoryRoot, "docs", "models.json");
const PAGE = join(repositoryRoot, "docs", "models.md");
const [BEGIN, END] = ["<!-- figures -->", "<!-- end of figures -->"];

export function readFigures(): RecordedFigures | undefined {
  return existsSync(FIGURES) ? JSON.parse(readFileSync(FIGURES, "utf8")) : undefined;
}

/** The rows as Markdown. */
export function tableOf({ processor, results }: RecordedFigures): string {
  const rows = Object.entries(results).map(([name, one]) => [
    name,
    one.perplexity.toFixed(3),
    one.stories.toFixed(3),
    `${(one.bytes / 1e6).toFixed(1)} MB`,
    one.coreMinutes?.toFixed(1) ?? "",
    one.peakBytes === undefined ? "" : `${(one.peakBytes / 2 ** 30).toFixed(2)} GiB`,
  ]);
  const head = ["", "WikiText-2", "TinyStories", "folder", "core minutes", "peak memory"];
  const lines = [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`);
  return `Core minutes and memory on ${processor}.\n\n${lines.join("\n")}`;
}

/** The page with the table of these figures. */
export function pageWith(figures: RecordedFigures): string {
  const page = readFileSync(PAGE, "utf8");
  const [before, after] = [page.split(BEGIN)[0], page.split(END)[1]];
  return `${before}${BEGIN}\n\n${tableOf(figures)}\n\n${END}${after}`;
}

export function writeFigures(figures: RecordedFigures): void {
  writeFileSync(FIGURES, `${JSON.stringify(figures, null, 2)}\n`);
  writeFileSync(PAGE, pageWith(figures));
}
