// Writes docs/performance.md and its pictures from docs/performance.json and the template beside this
// file; with --measure it measures first, and writes that file anew.
// Usage: npm run performance -- [--measure [BENCH...]]
//   BENCH   measures these only, and keeps the other figures of the file
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { majorOf, type RuntimeFigures } from "../../bench/figures.js";
import { measureOn, RUNTIMES } from "../../bench/runtimes.js";
import { repositoryRoot } from "../../shared.js";
import { FIGURES, makeFiles, readResults } from "./files.js";
import { PLAN, SECONDS } from "./plan.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { measure: { type: "boolean", default: false } },
});

/** What is measured on each runtime that is here. */
function wanted(): [string, readonly string[]][] {
  const isWanted = (name: string) => positionals.length === 0 || positionals.includes(name);
  return Object.entries(PLAN).flatMap(([runtime, names]): [string, readonly string[]][] => {
    const chosen = names.filter(isWanted);
    if (chosen.length === 0) return [];
    if (RUNTIMES[runtime]()) return [[runtime, chosen]];
    console.error(`${runtime} is not here; its figures will be missing.`);
    return [];
  });
}

/** `known` with the figures of one more run: benchmarks that were measured again are replaced. */
function merged(known: readonly RuntimeFigures[], run: RuntimeFigures): RuntimeFigures[] {
  const name = majorOf(run.runtime);
  const at = known.findIndex(({ runtime }) => majorOf(runtime) === name);
  if (at < 0) return [...known, run];
  const both = { runtime: run.runtime, benches: { ...known[at].benches, ...run.benches } };
  return known.with(at, both);
}

function rounded(_: string, value: unknown): unknown {
  return typeof value === "number" ? Number(value.toPrecision(4)) : value;
}

function measure(): void {
  const path = join(repositoryRoot, FIGURES);
  const plan = wanted();
  const seconds = plan.flatMap(([, names]) => names).reduce((sum, name) => sum + SECONDS[name], 0);
  console.log(`About ${Math.ceil(seconds / 60)} minutes on a machine that does nothing else.`);
  const keeps = positionals.length > 0 && existsSync(path);
  let runs: RuntimeFigures[] = keeps ? JSON.parse(readFileSync(path, "utf8")) : [];
  for (const [runtime, names] of plan) {
    runs = merged(runs, measureOn(runtime, names, {}));
    writeFileSync(path, `${JSON.stringify(runs, rounded, 1)}\n`);
  }
}

const unknown = positionals.filter((name) => SECONDS[name] === undefined);
if (unknown.length > 0) {
  console.error(
    `Not on the page: ${unknown.join(", ")}. It has: ${Object.keys(SECONDS).join(", ")}`,
  );
  process.exit(1);
}
if (values.measure) measure();
for (const [path, text] of await makeFiles(readResults())) {
  writeFileSync(join(repositoryRoot, path), text);
  console.log(path);
}
