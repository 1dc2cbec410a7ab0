import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { scratch } from "../cli/program.js";
import { execute, findDeno } from "../runtimes/programs.js";
import { repositoryRoot, skipUnless } from "../shared.js";
import type { RuntimeFigures } from "./figures.js";
import { benchesOf } from "./runtimes.js";

const test = suite("bench/run");
const folder = scratch(test);

const RUN = fileURLToPath(new URL("run.js", import.meta.url));

function bench(...args: readonly string[]) {
  return execute(process.execPath, [RUN, ...args], repositoryRoot);
}

async function figuresOf(...args: readonly string[]): Promise<RuntimeFigures[]> {
  const file = join(folder, "figures.json");
  const { code, stderr } = await bench("--quick", "--json", file, ...args);
  assert.is(code, 0, stderr);
  return JSON.parse(readFileSync(file, "utf8"));
}

test("--help lists the benchmarks and the runtimes", async () => {
  const { code, stdout } = await bench("--help");
  assert.is(code, 0);
  for (const name of ["gemm", "peers", "threads", "growth", "node24", "deno", "bun"]) {
    assert.match(stdout, new RegExp(`\\b${name}\\b`));
  }
  assert.not(benchesOf().includes("measure"));
});

test("a name that is none is refused, with those that are", async () => {
  const { code, stderr } = await bench("gem");
  assert.is(code, 1);
  assert.match(stderr, /No benchmark gem\. There are: .*gemm/);
  const missing = await bench("--runtime", "node19", "gemm");
  assert.is(missing.code, 1);
  assert.match(missing.stderr, /Not here: node19\..*node20/);
});

test("--json writes this runtime's figures, in every mode that it has", async () => {
  const [{ runtime, benches }, ...others] = await figuresOf("sparsegpt");
  assert.equal(others, []);
  assert.is(runtime, `Node ${process.versions.node}`);
  assert.equal(Object.keys(benches), ["sparsegpt"]);
  const sweep = benches.sparsegpt.find(
    ({ name, by }) => name === "sweep 2:4 256x256" && by === "baseline",
  );
  assert.is(sweep?.unit, "s");
  const { value = 0 } = sweep ?? {};
  assert.ok(value > 0 && value < 10, String(value));
});

skipUnless(test, findDeno() !== undefined, "there is no Deno", "--runtime runs there", async () => {
  const [{ runtime, benches }] = await figuresOf("--runtime", "deno", "sparsegpt");
  assert.match(runtime, /^Deno \d/);
  const modes = new Set(benches.sparsegpt.map(({ by }) => by));
  assert.equal([...modes], ["baseline", "relaxed"]);
});

test.run();
