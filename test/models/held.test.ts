// What models would take in memory, by their headers, beside what they take.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openBackend } from "../../src/backends/index.js";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { scoreWindows } from "../../src/evaluate/score.js";
import { evaluatePerplexity } from "../../src/evaluate.js";
import type { Activations } from "../../src/forms/integer.js";
import { count } from "../../src/models/fits.js";
import { loadDecoder } from "../../src/models/open.js";
import { readModel } from "../../src/models/stored.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { type SyntheticSize, writeSynthetic } from "../bench/synthetic.js";
import {
  compressFiles,
  convert,
  EVALUATION,
  type Files,
  repeatBlocks,
  storyFiles,
} from "../compress/stories.js";
import { note } from "../shared.js";
import { openFiles, TINY_FAMILIES, tinyFiles } from "./tiny-model.js";

const test = suite("held models");
const TEXT = EVALUATION.slice(0, 1500);
const WINDOW = 64;

const compressed = async (recipe: Parameters<typeof compressFiles>[1]) =>
  (await compressFiles(await repeatBlocks(storyFiles(), 8), recipe)).files;

async function synthetic(size: SyntheticSize): Promise<Files> {
  const out = memoryOutputFolder();
  await writeSynthetic(out, size);
  return out.files;
}

const grid = { bits: 4, groupSize: 32 };
const MODELS: Readonly<Record<string, () => Files | Promise<Files>>> = {
  "16 bits, a tied head": async () => repeatBlocks(storyFiles(), 8),
  F32: () => convert(storyFiles(), "F32"),
  "2:4, packed": () => compressed({ method: "magnitude", layout: "two-four" }),
  "2:4, packed as bitmasks": () => compressed({ method: "magnitude", layout: "sparse-24-bitmask" }),
  "2:4, rotated": () =>
    compressed({ method: "magnitude", layout: "two-four", rotate: { steps: 2, scope: "shared" } }),
  quantized: () => compressed({ method: "rtn", options: grid, layout: "grouped-int" }),
  "quantized with its embedding": () =>
    compressed({ method: "rtn", options: grid, layout: "grouped-int", embeddingBits: 4 }),
  factored: () => compressed({ method: "armor", options: { iterations: 2 }, layout: "two-four" }),
  "larger, BF16": () => synthetic({ width: 256, layers: 6, dtype: "BF16" }),
};

/** Most bytes that scoring takes, counted and run. */
async function both(
  files: Files,
  beside: Files | undefined,
  lowMemory: boolean,
  activations: Activations = "float",
) {
  const models = [];
  for (const one of beside ? [files, beside] : [files]) {
    models.push(readModel(await openCheckpoint(memoryFolder(one))));
  }
  const options = { maxTokens: WINDOW, threads: 1, lowMemory, activations };
  const counted = await count(models, options, async ([model, against]) => {
    const work = scoreWindows(model, new Int32Array(WINDOW), WINDOW, { against });
    for (let step = await work.next(); !step.done; step = await work.next());
  });
  const backend = await openBackend("wasm", { threads: 1, simd: "baseline" });
  const model = await openCheckpoint(memoryFolder(files));
  const against = beside && (await openCheckpoint(memoryFolder(beside)));
  const given = { model, against, text: TEXT, window: WINDOW, lowMemory, activations, backend };
  await evaluatePerplexity(given).result();
  const { peak } = backend.memory();
  backend.dispose();
  return { counted: counted!.reduce((sum, one) => sum + one), peak };
}

let worst = 0;
for (const [name, make] of Object.entries(MODELS)) {
  test(`${name}: the count is within 5% of what a run takes, all at once and by blocks`, async () => {
    const files = await make();
    for (const lowMemory of [false, true]) {
      const { counted, peak } = await both(files, undefined, lowMemory);
      const off = Math.abs(counted / peak - 1);
      assert.ok(off < 0.05, `lowMemory ${lowMemory}: ${counted} for ${peak}`);
      if (!name.startsWith("quantized")) continue;
      const rounded = await both(files, undefined, lowMemory, "int8");
      assert.ok(rounded.peak < peak, `int8: ${rounded.peak} for ${peak}`);
      const ratio = rounded.counted / rounded.peak;
      assert.ok(Math.abs(ratio - 1) < 0.05, `int8, lowMemory ${lowMemory}: ${ratio}`);
      worst = Math.max(worst, off);
    }
  });
}

test("so it is for every family", async () => {
  for (const family of TINY_FAMILIES) {
    const model = readModel(await openFiles(tinyFiles(family)));
    const [window, { spec }] = [8, model];
    const ids = Int32Array.from({ length: window }, (_, i) => i + 1);
    const run = async (one: Parameters<typeof scoreWindows>[0]) => {
      const work = scoreWindows(one, ids, window);
      for (let step = await work.next(); !step.done; step = await work.next());
    };
    const [counted] = (await count([model], { maxTokens: window, threads: 1 }, ([one]) =>
      run(one),
    ))!;
    const backend = await openBackend("wasm", { threads: 1, simd: "baseline" });
    const decoder = await loadDecoder(model, backend, window);
    await run({ backend, decoder, spec });
    const { peak } = backend.memory();
    assert.ok(Math.abs(counted / peak - 1) < 0.05, `${family}: ${counted} for ${peak}`);
    backend.dispose();
  }
});

test("of two models it is what both take", async () => {
  const [dense, pruned] = [await MODELS["16 bits, a tied head"](), await MODELS["2:4, packed"]()];
  const { counted, peak } = await both(pruned, dense, false);
  assert.ok(counted >= peak && counted < 1.1 * peak, `${counted} for ${peak}`);
  note(`within ${(100 * worst).toFixed(2)}% of what runs of one model take`);
});

test.run();
