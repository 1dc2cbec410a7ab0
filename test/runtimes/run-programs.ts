import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Test } from "uvu";
import * as assert from "uvu/assert";
import { VERSION } from "../../src/version.js";
import { ran, skipUnless } from "../shared.js";
import { type Answers, compare, computeAnswers } from "./answers.js";
import { makeConsumer } from "./consumer.js";
import { execute, type Program } from "./programs.js";
import type { SmokeResult } from "./smoke.js";

/** The command line, from the folder that the package is installed in. */
const COMMAND = "node_modules/penjing/penjing.mjs";

/** A runtime that runs script.js. */
export interface Runner {
  readonly name: string;
  readonly program: Program | undefined;
  /** What stands before the backends' names. */
  readonly args: readonly string[];
  /** Vulkan's software driver that works in it, by its description file; none: no WebGPU test. */
  readonly software?: string;
}

interface Output {
  readonly version: string;
  readonly adapter?: string;
  readonly results: readonly SmokeResult[];
}

/** The folder that the tests of a suite run in, and the answers that they compare with. */
export interface Place {
  folder(): string;
  answers(): Answers;
}

export function preparePlace<T>(test: Test<T>): Place {
  const consumer = makeConsumer(test);
  let folder = "";
  let answers: Answers;
  test.before(async () => {
    folder = await consumer();
    answers = await computeAnswers();
    writeFileSync(join(folder, "input.json"), JSON.stringify(answers.input));
  });
  return { folder: () => folder, answers: () => answers };
}

/** Vulkan drivers to try in turn: the machine's own where there is a GPU, then software. */
function drivers(software: string): NodeJS.ProcessEnv[] {
  const hasOwn = existsSync("/dev/nvidia0") || existsSync("/dev/dri/renderD128");
  return [
    ...(hasOwn ? [{}] : []),
    ...(existsSync(software) ? [{ VK_ICD_FILENAMES: software }] : []),
  ];
}

async function results(
  { name, program, args }: Runner,
  backend: string,
  folder: string,
  environments: readonly NodeJS.ProcessEnv[],
): Promise<Output> {
  const output = join(folder, "output.json");
  for (const [i, env] of environments.entries()) {
    rmSync(output, { force: true });
    const ended = await execute(program!.path, [...args, backend], folder, env);
    const printed = `${ended.stdout}${ended.stderr}`;
    const isLast = i === environments.length - 1;
    if (/no GPU adapter|no WebGPU/.test(printed) && !isLast) continue;
    assert.is(ended.code, 0, `${name} ended with ${ended.code}\n${printed}`);
    break;
  }
  return JSON.parse(readFileSync(output, "utf8"));
}

/** Registers the tests of one runtime: WebAssembly, and WebGPU where it has a driver. */
export function testRunner<T>(test: Test<T>, place: Place, runner: Runner): void {
  const { name, program, args, software } = runner;
  const missing = `${name} is not here`;
  skipUnless(test, program !== undefined, missing, `${name}: WebAssembly`, async () => {
    const found = await results(runner, "wasm", place.folder(), [{}]);
    assert.is(found.version, VERSION);
    assert.is(found.results[0].backend, "wasm");
    compare(found.results[0], place.answers(), name);
    ran(`${program!.name}: WebAssembly`);
  });
  skipUnless(test, program !== undefined, missing, `${name}: the command doctor`, async () => {
    const command = args.map((arg) => arg.replace("script.js", COMMAND));
    const ended = await execute(program!.path, [...command, "doctor", "--no-hub"], place.folder());
    assert.is(ended.code, 0, `${name}\n${ended.stdout}${ended.stderr}`);
    assert.match(
      ended.stdout,
      new RegExp(`^ok     runtime    ${name.split(" ")[0]}.* \\d+\\.`, "m"),
    );
    for (const part of ["simd", "speed", "memory", "disk", "hub", "cache", "packages"]) {
      assert.match(ended.stdout, new RegExp(`^(ok|note)  +${part} +\\S`, "m"), `${name}: ${part}`);
    }
  });
  if (!software) return;
  const environments = drivers(software);
  const lacking = program ? "no WebGPU adapter" : missing;
  const canRun = program !== undefined && environments.length > 0;
  skipUnless(test, canRun, lacking, `${name}: WebGPU`, async () => {
    const found = await results(runner, "webgpu", place.folder(), environments);
    assert.is(found.results[0].backend, "webgpu");
    compare(found.results[0], place.answers(), name);
    ran(`${program!.name}: WebGPU on ${found.adapter}`);
  });
}
