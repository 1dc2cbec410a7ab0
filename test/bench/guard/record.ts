// Makes today's build the accepted one, after it was compared with the one before on every runtime.
// Usage: npm run bench:record [-- --because "why a slower one is right"], on a quiet machine.
import { parseArgs } from "node:util";
import { accept, processorName, readHead } from "./builds.js";
import { below, describe, shareOf } from "./compare.js";
import { compareUntil, programs } from "./runs.js";

/** What stays below this is no noise. */
const EQUAL = 0.97;
/** Processes of each runtime at most. */
const MOST_RUNS = 10;

const { because } = parseArgs({ options: { because: { type: "string" } } }).values;
const before = readHead();
console.log(`on ${processorName()}`);
if (before) console.log(`over ${before.commit}, accepted on ${before.processor}`);

const problems = new Set<string>();
let slowest = Infinity;
for (const program of before ? programs() : []) {
  const { lost, shares } = await compareUntil(EQUAL, MOST_RUNS, program);
  for (const line of describe(shares)) console.log(`${program.name}, ${line}`);
  slowest = Math.min(slowest, ...Object.keys(shares).map((name) => shareOf(shares, name)));
  for (const name of lost) problems.add(`${name} is not measured any more`);
  for (const name of below(EQUAL, shares)) {
    problems.add(`${program.name}, ${name} runs at ${shareOf(shares, name).toFixed(3)}`);
  }
}

if (problems.size > 0 && !because) {
  console.error([...problems].join("\n"));
  console.error('Nothing is replaced. Say why it is right all the same: -- --because "..."');
  process.exitCode = 1;
} else {
  accept(before ? slowest.toFixed(3) : "none before", because);
  console.log("accepted: commit test/bench/guard/accepted.mjs");
}
