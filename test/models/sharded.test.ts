// Models whose blocks lie in several memories: what they compute, and which blocks lie where.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { openBackend } from "../../src/backends/index.js";
import { openWasm } from "../../src/backends/wasm.js";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { generate } from "../../src/generate.js";
import type { Decoder } from "../../src/models/decoder.js";
import { faceOf, loadDecoder, openRunning } from "../../src/models/open.js";
import { loadSharded } from "../../src/models/sharded.js";
import { shareOut } from "../../src/models/share-out.js";
import { readModel } from "../../src/models/stored.js";
import { memoryFolder } from "../../src/platform/files.js";
import { storyFiles } from "../compress/stories.js";
import { openFiles, TINY_FAMILIES, tinyFiles } from "./tiny-model.js";

const test = suite("sharded models");

/** Logits of a prompt, of tokens behind it one by one, and of two texts side by side. */
async function computed(backend: Backend, decoder: Decoder): Promise<Float32Array[]> {
  const { spec } = decoder;
  const ids = Int32Array.from({ length: 12 }, (_, i) => (i * 37 + 5) % spec.vocabSize);
  const found: Float32Array[] = [];
  const cache = decoder.cache(ids.length);
  const one = backend.zeros([1, spec.vocabSize]);
  for (const [start, end] of [[0, 8], ...[8, 9, 10, 11].map((at) => [at, at + 1])]) {
    decoder.logits(ids.subarray(start, end), one, cache);
    found.push((await backend.read(one)) as Float32Array);
  }
  const all = backend.zeros([ids.length, spec.vocabSize]);
  const segments = [0, 7].map((first) => ({
    ...{ first, position: 0 },
    rows: first === 0 ? 7 : 5,
  }));
  await decoder.pace(decoder.forwardSegments(ids, segments), undefined);
  await decoder.pace(decoder.project(0, all), undefined);
  found.push((await backend.read(all)) as Float32Array);
  for (const tensor of [one, all]) tensor.dispose();
  cache.dispose();
  return found;
}

test("every family computes the same, bit for bit, whichever blocks lie where", async () => {
  for (const family of TINY_FAMILIES) {
    const model = readModel(await openFiles(tinyFiles(family)));
    const backend = await openBackend("wasm", { threads: 1 });
    const whole = await loadDecoder(model, backend, 16);
    const expected = await computed(backend, whole);
    whole.dispose();
    const { length } = model.spec.blocks;
    for (const starts of [[0], Array.from({ length }, (_, i) => i).slice(1)]) {
      const opened: Backend[] = [];
      const another = async () => {
        opened.push((await backend.another?.())!);
        return opened.at(-1);
      };
      const decoder = await loadSharded(model, backend, 16, { starts, another });
      assert.equal(await computed(backend, decoder), expected, `${family} ${starts}`);
      assert.is(opened.length, starts.length);
      const used = opened.map((one) => one.memory().live);
      assert.ok(
        used.every((bytes) => bytes > 0),
        "each holds something",
      );
      decoder.dispose();
      for (const one of [backend, ...opened]) assert.is(one.memory().live, 0, "all is freed");
      for (const one of opened) one.dispose();
    }
    backend.dispose();
  }
});

test("a text is continued as by a model in one memory; served calls are told together", async () => {
  const open = async (starts: readonly number[]) =>
    openRunning(await openCheckpoint(memoryFolder(storyFiles())), {
      backend: "wasm",
      hold: async () => ({ starts }),
    });
  const texts: string[] = [];
  const calls: number[] = [];
  for (const starts of [[], [1, 3]]) {
    const model = await open(starts);
    const run = generate({ model: faceOf(model), prompt: "Tom", maxNewTokens: 12 });
    const { text, served } = await run.result();
    texts.push(text);
    const attention = served.filter(({ operation }) => operation === "attention");
    assert.is(attention.length, 1);
    calls.push(attention[0].calls);
    await model.close();
  }
  assert.is(texts[1], texts[0]);
  assert.is(calls[1], calls[0]);
});

test("blocks go to another memory where one has no room for all", async () => {
  const files = storyFiles();
  const ask = { prompt: "Tom", maxNewTokens: 12 };
  const given = { ...ask, backend: await openWasm(), maxMemory: 2 ** 30 };
  const checkpoint = () => openCheckpoint(memoryFolder(files));
  const { text } = await generate({ ...given, model: await checkpoint() }).result();
  const { peak } = given.backend.memory();
  const small = await openWasm({ mostBytes: 0.75 * peak });
  const run = generate({ ...given, model: await checkpoint(), backend: small });
  assert.is((await run.result()).text, text);
  assert.ok(small.memory().peak < 0.75 * peak);
  for (const backend of [given.backend, small]) backend.dispose();
  // A memory that has no room for what stands outside the blocks.
  const tiny = await openWasm({ mostBytes: 2 ** 20 });
  const refusal = await generate({ ...given, model: await checkpoint(), backend: tiny })
    .result()
    .then(() => "", String);
  assert.match(refusal, /take 1\.\d\d MB in a WebAssembly memory, which holds 983 KB; .* webgpu/);
  tiny.dispose();
});

test("blocks are shared out in order, to as few memories as hold them", () => {
  const block = { held: 10, peak: 15 };
  const blocks = Array.from({ length: 6 }, () => block);
  const share = (outer: number, running: number, most: number) =>
    shareOut(blocks, { outer, running, most });
  assert.equal(share(20, 5, 100), [], "all fit in one");
  // The third is loaded when 25 + 2 x 10 are held, and takes 15.
  assert.equal(share(20, 5, 60), [3]);
  assert.equal(share(20, 5, 59), [2]);
  assert.equal(share(20, 5, 40), [1, 4]);
  // The first may hold no block at all.
  assert.equal(share(30, 5, 40), [0, 3]);
  // Neither a block nor what stands outside may be beyond a memory.
  assert.is(share(0, 5, 19), undefined);
  assert.is(share(36, 5, 40), undefined);
});

test.run();
