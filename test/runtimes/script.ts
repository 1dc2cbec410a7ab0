/** Runs the smoke suite in Node, Deno or Bun: script.js BACKEND..., reads input.json, writes output.json. */
import { readFileSync, writeFileSync } from "node:fs";
import type * as Penjing from "../../src/index.js";
import { type SmokeInput, smoke } from "./smoke.js";

/** Imports a package that is installed beside this script, unknown to the compiler. */
const load = (name: string) => import(name);

/** What the adapter calls itself, whichever way the runtime comes by one. */
async function adapterName(): Promise<string | undefined> {
  const own = (globalThis as { navigator?: { gpu?: GPU } }).navigator?.gpu;
  const gpu: GPU = own ?? (await load("webgpu")).create([]);
  const info = (await gpu.requestAdapter())?.info;
  return info && [info.vendor, info.architecture, info.description].filter(Boolean).join(" ");
}

const penjing: typeof Penjing = await load("penjing");
const input: SmokeInput = JSON.parse(readFileSync("input.json", "utf8"));
const backends = process.argv.slice(2);
const results = [];
for (const name of backends) results.push(await smoke(penjing, input, name as Penjing.BackendName));
const adapter = backends.includes("webgpu") ? await adapterName() : undefined;
writeFileSync("output.json", JSON.stringify({ version: penjing.VERSION, adapter, results }));
// Dawn's instance would keep the process.
process.exit(0);
