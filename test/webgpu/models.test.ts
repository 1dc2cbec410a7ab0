import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { openWasm } from "../../src/backends/wasm.js";
import { evaluatePerplexity } from "../../src/evaluate.js";
import { generate } from "../../src/generate.js";
import { openModel } from "../../src/open-model.js";
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
  const model = await openModel(EMBEDDED, { backend, maxTokens: 64 });
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

test.run();
