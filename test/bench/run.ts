// Runs the benchmarks named on the command line, all of them by default, and prints a table each.
// Usage: npm run bench -- [--quick] [--json FILE] [NAME...]
import { readdirSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { type BenchOptions, type Figure, table } from "./measure.js";

interface Bench {
  readonly run: (options: BenchOptions) => Promise<Figure[]>;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: "boolean", default: false }, json: { type: "string" } },
});

const modules = new Map<string, Bench>();
for (const file of readdirSync(new URL(".", import.meta.url)).sort()) {
  // This file runs the others; importing it again would start over.
  if (!file.endsWith(".js") || file === "run.js") continue;
  const module = (await import(new URL(file, import.meta.url).href)) as Partial<Bench>;
  if (module.run) modules.set(file.slice(0, -3), module as Bench);
}

const unknown = positionals.filter((name) => !modules.has(name));
if (unknown.length > 0) {
  console.error(`No benchmark ${unknown.join(", ")}. There are: ${[...modules.keys()].join(", ")}`);
  process.exit(1);
}

const results: Record<string, Figure[]> = {};
for (const [name, bench] of modules) {
  if (positionals.length > 0 && !positionals.includes(name)) continue;
  results[name] = await bench.run({ quick: values.quick });
  console.log(`\n${name}\n${table(results[name])}`);
}
if (values.json) writeFileSync(values.json, `${JSON.stringify(results, undefined, 2)}\n`);
