import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openReference } from "../../src/backends/reference.js";
import { openWasm } from "../../src/backends/wasm.js";
import { openWebGpu, type WebGpuOptions } from "../../src/backends/webgpu.js";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { isInteger } from "../../src/forms/integer.js";
import { generate } from "../../src/generate.js";
import { loadBlock, loadOuter } from "../../src/models/load.js";
import { readModel } from "../../src/models/stored.js";
import { memoryFolder } from "../../src/platform/files.js";
import { random } from "../backends/operands.js";
import { compressFiles, storyFiles } from "../compress/stories.js";
import { note, skipUnless } from "../shared.js";
import { findTestGpu, hasWebGpu, NO_WEBGPU, openTestGpu } from "./adapter.js";
import { type CodesCheck, checkCodes, checkHalves } from "./codes.js";
import { hasLavapipe, NO_LAVAPIPE, onLavapipe } from "./lavapipe.js";

const test = suite("webgpu/codes");

function judge(checks: readonly CodesCheck[]): void {
  assert.is(checks.length, 11);
  for (const { what, wrong, worst } of checks) {
    assert.is(wrong, 0, `${what}: products by int8 that have other bits than the reference's`);
    assert.ok(worst <= 1, `${what}: by floats its error is ${worst} of what it may be`);
  }
}

const PATHS: Readonly<Record<string, NonNullable<WebGpuOptions["avoid"]>>> = {
  "all that the adapter has": [],
  "neither subgroups nor dot4I8Packed": ["subgroups", "packed_4x8_integer_dot_product"],
};

for (const [what, avoid] of Object.entries(PATHS)) {
  skipUnless(
    test,
    hasWebGpu,
    NO_WEBGPU,
    `with ${what}: the reference's bits by int8, and f32 sums by floats, up to 11008 inputs`,
    async () => {
      const [backend, reference] = [
        await openWebGpu({ gpu: findTestGpu(), avoid, isTrusted: true }),
        await openReference(),
      ];
      judge(await checkCodes(backend, reference, random));
      const { tokens, wrong } = await checkHalves(backend, reference, random);
      assert.is(wrong, 0, `of ${tokens} tokens`);
      backend.dispose();
    },
  );
}

skipUnless(test, hasLavapipe, NO_LAVAPIPE, "the same on another adapter, in Deno", async () => {
  const { adapter, features, checks, halves } = await onLavapipe<{
    checks: CodesCheck[];
    halves: { tokens: number; wrong: number };
  }>("codes-script");
  judge(checks);
  assert.is(halves.wrong, 0);
  const dot4 = features.includes("packed_4x8_integer_dot_product") ? "with" : "without";
  note(`codes by int8 on ${adapter} in Deno, ${dot4} dot4I8Packed: the reference's bits`);
});

skipUnless(test, hasWebGpu, NO_WEBGPU, "a quantized model stays codes, and generates", async () => {
  const recipe = { options: { bits: 4, groupSize: 32 }, embeddingBits: 4 } as const;
  const whole = { ...recipe, method: "rtn", layout: "grouped-int" } as const;
  const { files } = await compressFiles(storyFiles(), whole);
  const model = () => openCheckpoint(memoryFolder(files));
  const stored = readModel(await model());
  const gpu = await openTestGpu();
  const { embedding, finalNorm } = await loadOuter(stored, gpu, { activations: "int8" });
  assert.ok("held" in embedding && embedding.activations === "int8");
  const { vocabSize, hiddenSize } = stored.spec;
  // Half a byte a code, and 4 bytes for the scale of 32.
  assert.is(embedding.bytes, (vocabSize * hiddenSize * 5) / 8);
  assert.is(gpu.memory().live, embedding.bytes + 4 * hiddenSize);
  for (const one of [embedding, finalNorm.gain]) one.dispose();
  for (const activations of ["int8", "float"] as const) {
    const before = gpu.memory().live;
    const { linears } = await loadBlock(stored, gpu, 0, { activations });
    for (const { weight } of Object.values(linears)) {
      assert.ok("held" in weight && weight.reason === undefined);
      const runs = Math.ceil(weight.cols / 32);
      assert.is(weight.bytes, weight.rows * runs * 20, weight.held);
    }
    assert.ok(gpu.memory().live > before);
    for (const { weight } of Object.values(linears)) weight.dispose();
  }
  assert.ok([...stored.forms.values()].every((form) => isInteger(form)));
  const write = async (backend: typeof gpu, activations: "int8" | "float") => {
    const given = { model: await model(), backend, prompt: "Once upon a time", maxNewTokens: 12 };
    const { ids, ...rest } = await generate({ ...given, activations }).result();
    return { ids: [...ids], activations: rest.activations };
  };
  const wasm = await openWasm();
  for (const activations of ["int8", "float"] as const) {
    const [given, expected] = [await write(gpu, activations), await write(wasm, activations)];
    assert.equal(given, expected);
    assert.is(given.activations, activations === "int8" ? "int8" : undefined);
  }
  assert.ok(gpu.served().every(({ servedBy }) => servedBy === "webgpu"));
  gpu.dispose();
  wasm.dispose();
});

test.run();
