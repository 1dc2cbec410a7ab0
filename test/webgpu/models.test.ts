import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { openWasm } from "../../src/backends/wasm.js";
import type { Checkpoint } from "../../src/checkpoint/checkpoint.js";
import { fromFloat32 } from "../../src/checkpoint/dtype.js";
import { evaluatePerplexity } from "../../src/evaluate.js";
import { generate } from "../../src/generate.js";
import { loadBlock } from "../../src/models/load.js";
import { loadDecoder, openModel, openRunning } from "../../src/models/open.js";
import { readModel } from "../../src/models/stored.js";
import { tinyCheckpoint, tinyTensor } from "../models/tiny.js";
import { note, repositoryRoot, skipUnless } from "../shared.js";
import { hasWebGpu, NO_WEBGPU, openTestGpu } from "./adapter.js";

const test = suite("webgpu/models");

const EMBEDDED = `${repositoryRoot}/examples/stories-1m`;
const TEXT =
  "Once upon a time there was a little girl named Lily. She liked to play in the garden with her " +
  "dog. One day they found a big red ball under the tree and took it home.";

/** The largest |a - b| over the largest |b|. */
function relativeError(a: Float32Array, b: Float32Array): number {
  let [error, size] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    error = Math.max(error, Math.abs(a[i] - b[i]));
    size = Math.max(size, Math.abs(b[i]));
  }
  return error / size;
}

async function logitsOn(backend: Backend): Promise<Float32Array> {
  const model = await openRunning(EMBEDDED, { backend, maxTokens: 64 });
  const ids = model.tokenizer.encode(TEXT).slice(0, 40);
  const out = backend.zeros([ids.length, model.spec.vocabSize]);
  model.decoder.logits(Int32Array.from(ids), out);
  const logits = (await backend.read(out)) as Float32Array;
  await model.close();
  return logits;
}

skipUnless(test, hasWebGpu, NO_WEBGPU, "logits of the embedded model equal wasm's", async () => {
  const [gpu, wasm] = [await openTestGpu(), await openWasm()];
  const expected = await logitsOn(wasm);
  const error = relativeError(await logitsOn(gpu), expected);
  note(`logits on WebGPU and wasm differ by ${error.toExponential(1)}, relative`);
  assert.ok(error < 1e-3, String(error));
  assert.ok(gpu.served().every(({ servedBy }) => servedBy === "webgpu"));
  gpu.dispose();
  wasm.dispose();
});

skipUnless(test, hasWebGpu, NO_WEBGPU, "perplexity equals wasm's", async () => {
  const [gpu, wasm] = [await openTestGpu(), await openWasm()];
  const score = async (backend: Backend) => {
    const model = await openModel(EMBEDDED, { backend, maxTokens: 32 });
    const result = await evaluatePerplexity({ model, text: TEXT, window: 16 }).result();
    await model.close();
    return result.perplexity;
  };
  const ratio = (await score(gpu)) / (await score(wasm));
  assert.ok(Math.abs(ratio - 1) < 1e-3, String(ratio));
  gpu.dispose();
  wasm.dispose();
});

skipUnless(test, hasWebGpu, NO_WEBGPU, "greedy generation equals wasm's", async () => {
  const ids = async (backend: Backend) => {
    const options = { model: EMBEDDED, backend, prompt: "Once upon a time", maxNewTokens: 16 };
    const result = await generate(options).result();
    backend.dispose();
    return [...result.ids];
  };
  assert.equal(await ids(await openTestGpu()), await ids(await openWasm()));
});

/** The tiny model with its linears stored as `dtype`; one weight of block 1 is `odd`. */
function halfModel(dtype: "F16" | "BF16", odd: number): Promise<Checkpoint> {
  return tinyCheckpoint({}, (tensors) => {
    for (const [name, { entry, bytes }] of tensors) {
      if (!name.includes("_proj")) continue;
      const values = new Float32Array(bytes.slice().buffer);
      if (name.includes("layers.1.mlp.up_proj")) values[3] = odd;
      tensors.set(name, tinyTensor(name, entry.shape, dtype, fromFloat32(dtype, values)));
    }
  });
}

skipUnless(test, hasWebGpu, NO_WEBGPU, "weights stored in 16 bits stay so", async () => {
  for (const [dtype, odd] of [
    ["F16", 0.25],
    ["BF16", 2 ** 20],
  ] as const) {
    const stored = readModel(await halfModel(dtype, odd));
    const logits: Float32Array[] = [];
    for (const open of [openTestGpu, openWasm]) {
      const backend = await open();
      const block = await loadBlock(stored, backend, 1);
      const isHalf = (name: string) => {
        const weight = block.linears[name].weight;
        return !("dtype" in weight) && weight.bytes < 3 * weight.rows * weight.cols;
      };
      assert.ok(isHalf("mlp.down_proj"), `${backend.name} ${dtype}`);
      // A GPU reads f16 alone: what that cannot hold stays in f32 there.
      assert.is(isHalf("mlp.up_proj"), backend.name === "wasm" || dtype === "F16");
      const decoder = await loadDecoder(stored, backend, 8);
      const out = backend.zeros([8, decoder.spec.vocabSize]);
      decoder.logits(Int32Array.of(1, 2, 3, 4, 5, 6, 7, 8), out);
      logits.push((await backend.read(out)) as Float32Array);
      backend.dispose();
    }
    const error = relativeError(logits[0], logits[1]);
    assert.ok(error < 1e-5, `${dtype}: ${error}`);
  }
});

test.run();
