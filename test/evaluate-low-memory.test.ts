// Models of which one block's weights are in memory at a time: what they score, and what is held.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openBackend } from "../src/backends/index.js";
import { openCheckpoint } from "../src/checkpoint/checkpoint.js";
import { scoreWindows } from "../src/evaluate/score.js";
import { type EvaluateEvent, evaluatePerplexity } from "../src/evaluate.js";
import { loadBlockByBlock } from "../src/models/block-by-block.js";
import type { Decoder } from "../src/models/decoder.js";
import { loadDecoder, openModel } from "../src/models/open.js";
import { readModel } from "../src/models/stored.js";
import { memoryFolder } from "../src/platform/files.js";
import {
  compressFiles,
  EVALUATION,
  type Files,
  repeatBlocks,
  storyFiles,
} from "./compress/stories.js";
import { openFiles, TINY_FAMILIES, tinyFiles } from "./models/tiny-model.js";
import { testBackends } from "./webgpu/adapter.js";

const test = suite("evaluate with low memory");

const TEXT = EVALUATION.slice(0, 1200);
const WINDOW = 32;

const open = (files: Files) => openCheckpoint(memoryFolder(files));
const pruned = async (files: Files) => {
  const { files: made } = await compressFiles(files, {
    ...{ method: "magnitude", sparsity: "2:4", layout: "two-four", rotate: { steps: 2 } },
  });
  return made;
};
const dense = storyFiles();
const made = await pruned(dense);

for (const [name, openThis] of testBackends) {
  test(`${name}: two models score the same, bit for bit`, async () => {
    const text = name === "wasm" ? TEXT : TEXT.slice(0, 400);
    const backend = await openThis();
    const score = async (lowMemory: boolean) => {
      const [model, against] = [await open(made), await open(dense)];
      const given = { model, against, text, window: WINDOW, lowMemory };
      const run = evaluatePerplexity({ ...given, backend });
      const { seconds: _, served: __, ...scored } = await run.result();
      return scored;
    };
    const inMemory = await score(false);
    assert.ok(inMemory.windows >= 2 && inMemory.against!.kl > 1e-3);
    assert.equal(await score(true), inMemory);
    backend.dispose();
  });
}

test("every family scores the same, a few windows at a time", async () => {
  const backend = await openBackend("wasm");
  const window = 8;
  for (const family of TINY_FAMILIES) {
    const model = readModel(await openFiles(tinyFiles(family)));
    const { spec } = model;
    const ids = Int32Array.from({ length: 5 * window }, (_, i) => (i * 37 + 5) % spec.vocabSize);
    const live = backend.memory().live;
    const scored = async (decoder: Decoder) => {
      const work = scoreWindows({ backend, decoder, spec }, ids, window);
      const events: string[] = [];
      let step = await work.next();
      for (; !step.done; step = await work.next()) {
        const { value } = step;
        events.push(value.type === "block" ? `${value.first}-${value.last}: ${value.done}` : "w");
      }
      decoder.dispose();
      return { score: step.value, events };
    };
    const inMemory = await scored(await loadDecoder(model, backend, window));
    const one = await loadBlockByBlock(model, backend, window);
    assert.ok(one.ahead!.atOnce(window) > 5);
    const two = Object.assign(await loadBlockByBlock(model, backend, window), { atOnce: () => 2 });
    const blocks = spec.blocks.map((_, i) => i + 1);
    const group = (at: string) => blocks.map((block) => `${at}: ${block}`);
    const [all, pairs] = [await scored(one), await scored(two)];
    for (const { score } of [all, pairs]) assert.equal(score, inMemory.score, family);
    assert.equal(inMemory.events, Array(5).fill("w"));
    assert.equal(all.events, [...group("1-5"), ...Array(5).fill("w")]);
    assert.equal(pairs.events, [
      ...[...group("1-2"), "w", "w", ...group("3-4"), "w", "w", ...group("5-5"), "w"],
    ]);
    assert.is(backend.memory().live, live);
  }
  backend.dispose();
});

/** The most bytes of tensors while a deep model is scored beside the one that it was made from. */
async function peakOf(layers: number, lowMemory: boolean): Promise<number> {
  const backend = await openBackend("wasm", { threads: 1 });
  const deep = await repeatBlocks(dense, layers);
  const [model, against] = [await open(await pruned(deep)), await open(deep)];
  const text = TEXT.slice(0, 400);
  const given = { model, against, text, window: WINDOW, backend, lowMemory };
  await evaluatePerplexity(given).result();
  const { live, peak } = backend.memory();
  assert.is(live, 0);
  backend.dispose();
  return peak;
}

test("what is held does not grow with the models' blocks", async () => {
  const [few, many] = [await peakOf(4, true), await peakOf(12, true)];
  assert.is(many, few);
  const [both, more] = [await peakOf(4, false), await peakOf(12, false)];
  assert.ok(few < both && more > 1.5 * both, `${few} of ${both}, and ${more}`);
});

test("a model that is open stays in memory, the other one does not", async () => {
  const backend = await openBackend("wasm");
  const model = await openModel(await open(made), { backend, maxTokens: WINDOW });
  const given = { model, against: await open(dense), text: TEXT, window: WINDOW, lowMemory: true };
  const work = evaluatePerplexity(given);
  const blocks: Extract<EvaluateEvent, { type: "block" }>[] = [];
  for await (const event of work) if (event.type === "block") blocks.push(event);
  const result = await work.result();
  assert.equal(
    blocks.map(({ done }) => done),
    [1, 2, 3, 4],
  );
  const { windows } = result;
  for (const event of blocks) {
    assert.equal([event.blocks, event.first, event.last, event.windows], [4, 1, windows, windows]);
  }
  const beside = await openModel(await open(dense), { backend, maxTokens: WINDOW });
  const inMemory = await evaluatePerplexity({ ...given, against: beside }).result();
  assert.equal(result.against, inMemory.against);
  for (const opened of [model, beside]) await opened.close();
  backend.dispose();
});

test("an abort between blocks frees what was taken", async () => {
  const backend = await openBackend("wasm");
  const [reason, controller] = [new Error("enough"), new AbortController()];
  const model = await open(made);
  const given = { model, text: TEXT, window: WINDOW, backend, lowMemory: true };
  let thrown: unknown;
  try {
    for await (const event of evaluatePerplexity({ ...given, signal: controller.signal })) {
      assert.is(event.type === "progress", false);
      if (event.type === "block" && event.done === 2) controller.abort(reason);
    }
  } catch (error) {
    thrown = error;
  }
  assert.is(thrown, reason);
  assert.is(backend.memory().live, 0);
  backend.dispose();
});

test("an abort while many short windows go through a block does not wait for the last", async () => {
  const [reason, controller] = [new Error("enough"), new AbortController()];
  const text = EVALUATION.repeat(Math.ceil(30_000 / EVALUATION.length));
  const given = { model: await open(dense), text, window: 8, lowMemory: true };
  let blocks = 0;
  let thrown: unknown;
  try {
    const run = evaluatePerplexity({ ...given, backend: "wasm", signal: controller.signal });
    for await (const event of run) {
      if (event.type !== "block") continue;
      blocks++;
      setTimeout(() => controller.abort(reason), 1);
    }
  } catch (error) {
    thrown = error;
  }
  assert.is(thrown, reason);
  assert.is(blocks, 1);
});

test.run();
