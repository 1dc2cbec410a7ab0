// The figures of docs/models.json, and the table of docs/models.md that is made of them.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { repositoryRoot } from "../shared.js";
import { DENSE, QUANTIZED, type RealResult, type RealRun, RUNS } from "./runs.js";
import { PRUNER_TRIALS, QUANTIZER_TRIALS } from "./trials.js";

export interface RecordedFigures {
  readonly results: Readonly<Record<string, RealResult>>;
  /** Of what was tried. */
  readonly trials: Readonly<Record<string, RealResult>>;
}

const FIGURES = join(repositoryRoot, "docs", "models.json");
const PAGE = join(repositoryRoot, "docs", "models.md");
const FIGURES_MARKS = ["<!-- figures -->", "<!-- end of figures -->"] as const;
const TRIALS_MARKS = ["<!-- trials -->", "<!-- end of trials -->"] as const;

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
const PRUNED: readonly Column[] = [...PERPLEXITIES, sizeAs("folder"), ...COSTS];
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

/** What was tried, each row beside the first, which it changes one thing of. */
function trialsOf({ trials }: RecordedFigures): string {
  const table = (dense: string, runs: readonly RealRun[], columns: typeof PRUNED) => {
    const first = trials[runs[0].name];
    if (!first) return "";
    const change = (value?: number, of?: number) =>
      value && of ? `${value > of ? "+" : ""}${(100 * (value / of - 1)).toFixed(1)}%` : "";
    const beside = ({ perplexity, stories }: RealResult) =>
      `${change(perplexity, first.perplexity)}, ${change(stories, first.stories)}`;
    const isTried = (one: RealResult) => one !== first && one !== trials[dense];
    return rowsOf(
      trials,
      [dense, ...runs.map(({ name }) => name)],
      [...columns, ["beside the first", (one) => (isTried(one) ? beside(one) : "")]],
    );
  };
  return [
    table("dense", PRUNER_TRIALS, PERPLEXITIES),
    table("dithered", QUANTIZER_TRIALS, [KL, ...PERPLEXITIES]),
  ]
    .filter(Boolean)
    .join("\n\n");
}

/** The page with the tables of these figures. */
export function pageWith(figures: RecordedFigures): string {
  const put = (page: string, [begin, end]: readonly [string, string], table: string) =>
    `${page.split(begin)[0]}${begin}\n\n${table}\n\n${end}${page.split(end)[1]}`;
  const page = put(readFileSync(PAGE, "utf8"), FIGURES_MARKS, tableOf(figures));
  return put(page, TRIALS_MARKS, trialsOf(figures));
}

export function writeFigures(figures: RecordedFigures): void {
  writeFileSync(FIGURES, `${JSON.stringify(figures, null, 2)}\n`);
  writeFileSync(PAGE, pageWith(figures));
}
