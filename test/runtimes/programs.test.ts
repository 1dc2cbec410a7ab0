// Node 20, 22 and 24, Deno and Bun run the packed tarball.
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { VERSION } from "../../src/version.js";
import { ran, skipUnless } from "../shared.js";
import { type Answers, compare, computeAnswers } from "./answers.js";
import { makeConsumer } from "./consumer.js";
import { LAVAPIPE, SWIFTSHADER } from "./debian.js";
import { execute, findBun, findDeno, findNode, type Program } from "./programs.js";
import type { SmokeResult } from "./smoke.js";

const test = suite("runtimes/programs");

const consumer = makeConsumer(test);
let folder = "";
let answers: Answers;

test.before(async () => {
  folder = await consumer();
  answers = await computeAnswers();
  writeFileSync(join(folder, "input.json"), JSON.stringify(answers.input));
});

/** Chooses a process's Vulkan driver: the machine's own where there is a GPU, else software. */
function driver(software = ""): NodeJS.ProcessEnv {
  const hasOwn = existsSync("/dev/nvidia0") || existsSync("/dev/dri/renderD128");
  return hasOwn || !software ? {} : { VK_ICD_FILENAMES: software };
}

interface Run {
  readonly program: Program | undefined;
  readonly name: string;
  readonly args: readonly string[];
  /** Vulkan's software driver that works in it, by its description file; none: no WebGPU test. */
  readonly software?: string;
}

const DENO = ["run", "--allow-all", "--no-prompt", "--node-modules-dir=manual", "script.js"];

const RUNS: readonly Run[] = [
  ...[20, 22, 24].map((major) => ({
    name: `Node ${major}`,
    program: findNode(major),
    args: ["script.js"],
    // Software takes its time: of three versions that differ little here, two show WebGPU.
    ...(major === 22 ? {} : { software: SWIFTSHADER }),
  })),
  { name: "Deno", program: findDeno(), args: DENO, software: LAVAPIPE },
  { name: "Bun", program: findBun(), args: ["--no-install", "script.js"], software: SWIFTSHADER },
];

async function results(run: Run, backends: readonly string[]) {
  const { program, args, software } = run;
  rmSync(join(folder, "output.json"), { force: true });
  const ended = await execute(program!.path, [...args, ...backends], folder, driver(software));
  assert.is(ended.code, 0, `${run.name} ended with ${ended.code}\n${ended.stdout}${ended.stderr}`);
  return JSON.parse(readFileSync(join(folder, "output.json"), "utf8")) as {
    readonly version: string;
    readonly adapter?: string;
    readonly results: readonly SmokeResult[];
  };
}

for (const run of RUNS) {
  const missing = `${run.name} is not here`;
  skipUnless(test, run.program !== undefined, missing, `${run.name}: WebAssembly`, async () => {
    const found = await results(run, ["wasm"]);
    assert.is(found.version, VERSION);
    compare(found.results[0], answers, run.name);
    ran(`${run.program!.name}: WebAssembly`);
  });
  if (!run.software) continue;
  const hasGpu = driver(run.software).VK_ICD_FILENAMES === undefined || existsSync(run.software);
  const lacking = run.program ? "no WebGPU adapter" : missing;
  const name = `${run.name}: WebGPU`;
  skipUnless(test, run.program !== undefined && hasGpu, lacking, name, async () => {
    const found = await results(run, ["webgpu"]);
    assert.is(found.results[0].backend, "webgpu");
    compare(found.results[0], answers, run.name);
    ran(`${run.program!.name}: WebGPU on ${found.adapter}`);
  });
}

test("the package loaded twice: both copies work, also with each other's objects", async () => {
  const ended = await execute(process.execPath, ["copies.js"], folder);
  assert.is(ended.code, 0, `${ended.stdout}${ended.stderr}`);
  const found = JSON.parse(readFileSync(join(folder, "output.json"), "utf8"));
  assert.is(found.areSame, false);
  for (const result of found.results) compare(result, answers, "two copies");
  assert.equal(found.ids, answers.expected.ids);
  assert.ok(found.calls > 0);
  const [foreign, own] = found.refusals;
  assert.equal([foreign.own, own.own], [false, true]);
  assert.match(foreign.message, "no/such/folder");
  assert.is(foreign.message, own.message);
});

test.run();
