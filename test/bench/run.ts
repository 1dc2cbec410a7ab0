// Runs the benchmarks named on the command line, all of them by default, and prints a table each.
// Usage: npm run bench -- [--quick] [--runtime RUNTIME]... [--json FILE] [NAME...]
//   --runtime   node20, node22, node24, deno or bun, instead of this one; several times for several
//   --json      writes a list with the figures of each runtime
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { table } from "./figures.js";
import { benchesOf, measureHere, measureOn, RUNTIMES } from "./runtimes.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: "boolean", default: false },
    runtime: { type: "string", multiple: true, default: [] },
    json: { type: "string" },
    help: { type: "boolean", default: false },
  },
});

const known = benchesOf();
if (values.help) {
  console.log(`npm run bench -- [--quick] [--runtime RUNTIME]... [--json FILE] [NAME...]
Names: ${known.join(", ")}
Runtimes: ${Object.keys(RUNTIMES).join(", ")}`);
  process.exit(0);
}
const unknown = positionals.filter((name) => !known.includes(name));
if (unknown.length > 0) {
  console.error(`No benchmark ${unknown.join(", ")}. There are: ${known.join(", ")}`);
  process.exit(1);
}
const missing = values.runtime.filter((name) => !RUNTIMES[name]?.());
if (missing.length > 0) {
  const names = Object.keys(RUNTIMES).join(", ");
  console.error(`Not here: ${missing.join(", ")}. Runtimes may be: ${names}`);
  process.exit(1);
}

const names = positionals.length > 0 ? positionals : known;
const options = { quick: values.quick };
const results = [];
if (values.runtime.length > 0) {
  for (const name of values.runtime) {
    console.log(`\n${name}`);
    results.push(measureOn(name, names, options));
  }
} else {
  results.push(
    await measureHere(names, options, (name, figures, seconds) =>
      console.log(`\n${name} (${seconds.toFixed(0)} s)\n${table(figures)}`),
    ),
  );
}
if (values.json) writeFileSync(values.json, `${JSON.stringify(results, undefined, 2)}\n`);
