// Measures the guard's ratios on every runtime that is here, and writes the record anew.
// Usage: npm run bench:record, on a machine that does nothing else; it takes about a minute.
import { writeFileSync } from "node:fs";
import { RUNTIMES } from "../runtimes.js";
import type { Ratios } from "./ratios.js";
import { entryOf, measureOnce, RECORD } from "./runs.js";

/** Processes of each runtime. The second best ratio of all is recorded: the best may be luck. */
const RUNS = 5;

/** The second best of each ratio. */
function typical(runs: readonly Ratios[]): Ratios {
  const entries = Object.keys(runs[0]).map((name) => {
    const sorted = runs.map((ratios) => ratios[name]).sort((a, b) => b - a);
    return [name, Number(sorted[1].toFixed(3))];
  });
  return Object.fromEntries(entries);
}

const record: Record<string, Record<string, Ratios>> = {};
for (const find of Object.values(RUNTIMES)) {
  const program = find();
  if (!program) continue;
  const runs: Record<string, Ratios>[] = [];
  for (let run = 0; run < RUNS; run++) runs.push(await measureOnce(program));
  const modes = Object.keys(runs[0]).map((mode) => [mode, typical(runs.map((run) => run[mode]))]);
  record[entryOf(program)] = Object.fromEntries(modes);
  console.log(program.name, record[entryOf(program)]);
}
writeFileSync(RECORD, `${JSON.stringify(record, undefined, 2)}\n`);
