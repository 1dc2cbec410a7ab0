// The figures of docs/models.json, and the table of docs/models.md that is made of them.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { repositoryRoot } from "../shared.js";
import { DENSE, QUANTIZED, type RealResult, RUNS } from "./runs.js";

export interface RecordedFigures {
  readonly results: Readonly<Record<string, RealResult>>;
}

const FIGURES = join(repositoryRoot, "docs", "models.json");
const PAGE = join(repositoryRoot, "docs", "models.md");
const [BEGIN, END] = ["<!-- figures -->", "<!-- end of figures -->"];

export function readFigures(): RecordedFigures | undefined {
  return existsSync(FIGURES) ? JSON.parse(readFileSync(FIGURES, "utf8")) : undefined;
}

type Column = readonly [head: string, cell: (one: RealResult) => string];

const PERPLEXITIES: readonly Column[] = [
  ["WikiText-2", ({ perplexity }) => perplexity.toFixed(3)],
  ["TinyStories", ({ stories }) => stories?.toFixed(3) ?? ""],
];
const COSTS: readonly Column[] = [
  ["core minutes", ({ coreMinutes }) => coreMinutes?.toFixed(1) ?? ""],
  ["on", ({ coreMinutes, processor = "" }) => (coreMinutes ? processor : "")],
  ["peak memory", ({ peakBytes }) => (peakBytes ? `${(peakBytes / 2 ** 30).toFixed(2)} GiB` : "")],
];
const sizeAs = (head: string): Column => [head, ({ bytes }) => `${(bytes / 1e6).toFixed(1)} MB`];
const PRUNED = [...PERPLEXITIES, sizeAs("folder"), ...COSTS];
const KL: Column = ["KL", ({ kl }) => kl?.toFixed(4) ?? ""];
const TYPES: Column = [
  "matrices",
  ({ types = {} }) =>
    Object.entries(types)
      .map(([type, count]) => `${count} ${type}`)
      .join(", "),
];
const ON_GRIDS = [KL, ...PERPLEXITIES, sizeAs("file"), TYPES, ...COSTS];

function rowsOf(results: RecordedFigures["results"], names: readonly string[], of: typeof PRUNED) {
  const heads = ["", ...of.map(([head]) => head)];
  const rows = names
    .filter((name) => results[name])
    .map((name) => [name, ...of.map(([, cell]) => cell(results[name]))]);
  if (rows.length === 0) return "";
  return [heads, heads.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");
}

/** The rows as Markdown: of pruned models, and of those on grids. */
export function tableOf({ results }: RecordedFigures): string {
  const { dithered, ...dense } = DENSE;
  const pruned = [...Object.keys(dense), ...RUNS.map(({ name }) => name)];
  const quantized = ["dithered", ...QUANTIZED.map(({ name }) => name)];
  const tables = [rowsOf(results, pruned, PRUNED), rowsOf(results, quantized, ON_GRIDS)];
  return tables.filter(Boolean).join("\n\n");
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
