import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { loadTokenizer } from "../../src/checkpoint/tokenizer.js";
import type { LayerReport } from "../../src/compress/solve.js";
import { methods } from "../../src/methods/index.js";
import { memoryFolder } from "../../src/platform/files.js";
import { definePlugin } from "../../src/plugin.js";
import { pruneLinear } from "../../src/prune.js";
import { note } from "../shared.js";
import {
  CALIBRATION,
  type Compressed,
  compressFiles,
  type Files,
  floats,
  parseWeights,
  repeatBlocks,
  sameFiles,
  storyFiles,
  widen,
  withWeights,
} from "./stories.js";

const test = suite("compress resources and statistics");
const stories = storyFiles();

function calls({ result }: Compressed, operation: string): number {
  return result.served.find((line) => line.operation === operation)?.calls ?? 0;
}

test("only the statistics that a method asks for are gathered", async () => {
  for (const [method, hessians, squares] of [
    ["magnitude", false, false],
    ["wanda", false, true],
    ["nowag", false, true],
    ["sparsegpt", true, false],
  ] as const) {
    const done = await compressFiles(stories, { method, layerError: false });
    assert.is(calls(done, "accumulateHessian") > 0, hessians, `${method}: Hessian`);
    // NoWag takes its column norms of the weight with the same operation, once a layer.
    const own = method === "nowag" ? done.result.layers.length : 0;
    assert.is(calls(done, "accumulateColumnSquares") > own, squares, `${method}: column squares`);
  }
});

test("layers that share an input share its statistics", async () => {
  const done = await compressFiles(stories);
  // One batch; q, k and v have one input, gate and up another, o and down their own.
  assert.is(calls(done, "accumulateHessian"), 4 * 4);
  const attention = { ignore: ["*.mlp.*", "*.o_proj"] };
  assert.is(calls(await compressFiles(stories, attention), "accumulateHessian"), 4);
});

test("without layer errors and statistics no pass is made but the advance", async () => {
  const unmeasured = await compressFiles(stories, { method: "magnitude", layerError: false });
  // The last block's outputs are of no use to anybody.
  assert.is(calls(unmeasured, "swiglu"), 3);
  const measured = await compressFiles(stories, { method: "magnitude" });
  assert.is(calls(measured, "swiglu"), 3 + 4);
  assert.is(calls(measured, "accumulateHessian"), 4 * 4);
  assert.ok(measured.result.layers.every(({ layerError }) => layerError! > 0));
  sameFiles(
    { weights: measured.files["model.safetensors"] },
    { weights: unmeasured.files["model.safetensors"] },
  );
});

/** The weights of some blocks, by name. */
function blocksOf(files: Files, blocks: RegExp): Record<string, Uint8Array> {
  const all = [...parseWeights(files).tensors].map(([name, { bytes }]) => [name, bytes] as const);
  return Object.fromEntries(all.filter(([name]) => blocks.test(name)));
}

test("sequential statistics come from the blocks as pruned, dense ones from the dense blocks", async () => {
  const rest = { ignore: ["model.layers.0.*"] };
  const later = /layers\.[1-3]\./;
  const sequential = await compressFiles(stories);
  // The first block pruned beforehand and left alone, the others must come out the same.
  const weights = new Map(parseWeights(stories).tensors);
  for (const [name, stored] of parseWeights(sequential.files).tensors) {
    if (name.includes("layers.0.")) weights.set(name, stored);
  }
  const resumed = await compressFiles(await withWeights(stories, weights), rest);
  sameFiles(blocksOf(resumed.files, later), blocksOf(sequential.files, later));
  // With dense statistics the first block's pruning is not seen by the others.
  const dense = await compressFiles(stories, { statistics: "dense" });
  const alone = await compressFiles(stories, { statistics: "dense", ...rest });
  sameFiles(blocksOf(alone.files, later), blocksOf(dense.files, later));
  const name = "model.layers.1.mlp.up_proj.weight";
  const [one, other] = [sequential, dense].map(({ files }) => blocksOf(files, later)[name]);
  assert.is.not(Buffer.compare(one, other), 0);
});

for (const method of ["sparsegpt", "wanda"]) {
  test(`the memory for tensors does not grow with the layers: ${method}`, async () => {
    const peaks = [];
    for (const layers of [4, 8]) {
      const { result } = await compressFiles(await repeatBlocks(stories, layers), { method });
      assert.is(result.layers.length, layers * 7);
      peaks.push(result.peakTensorBytes);
    }
    assert.is(peaks[1], peaks[0]);
  });
}

test("the error by the Hessian's trace agrees with the one that a pass measures", async () => {
  // Its Hessians are too large to be gathered for this alone.
  const wide = await widen(stories);
  // The same method once more, but asking for the Hessian, by which its error is then known.
  const traces = {
    ...methods.wanda,
    name: "wanda-traced",
    needs: () => ["columnSquares", "hessian"],
  };
  const plugins = [definePlugin({ name: "traces", version: "1", methods: [traces] })];
  const measured = await compressFiles(wide, { method: "wanda" });
  assert.is(calls(measured, "accumulateHessian"), 0);
  const traced = await compressFiles(wide, { method: "wanda-traced" }, { plugins });
  let worst = 0;
  for (const [i, { layerError }] of measured.result.layers.entries()) {
    const other = traced.result.layers[i].layerError!;
    worst = Math.max(worst, Math.abs(other / layerError! - 1));
  }
  note(`layer error, trace against pass: relative difference ${worst.toExponential(1)}`);
  assert.ok(worst < 1e-4, `${worst}`);
});

const [SAMPLES, LENGTH, WIDTH] = [4, 32, 128];

/** The inputs of the first block's q, k and v, in float64: embedding, then RMS norm. */
async function firstInputs(): Promise<Float64Array> {
  const { tensors } = parseWeights(stories);
  const checkpoint = await openCheckpoint(memoryFolder(stories, "model"));
  const ids = (await loadTokenizer(checkpoint.folder)).encode(CALIBRATION);
  const embedding = floats(tensors.get("model.embed_tokens.weight")!);
  const gain = floats(tensors.get("model.layers.0.input_layernorm.weight")!);
  const inputs = new Float64Array(SAMPLES * LENGTH * WIDTH);
  for (let t = 0; t < SAMPLES * LENGTH; t++) {
    const row = embedding.subarray(ids[t] * WIDTH, (ids[t] + 1) * WIDTH);
    const meanSquare = row.reduce((sum, x) => sum + x * x, 0) / WIDTH;
    const scale = 1 / Math.sqrt(meanSquare + 1e-5);
    for (let j = 0; j < WIDTH; j++) inputs[t * WIDTH + j] = row[j] * scale * gain[j];
  }
  return inputs;
}

/** ||X Wᵀ||², by the definition. */
function energy(inputs: Float64Array, weight: Float64Array): number {
  let total = 0;
  for (let t = 0; t < inputs.length; t += WIDTH) {
    for (let r = 0; r < weight.length; r += WIDTH) {
      let sum = 0;
      for (let j = 0; j < WIDTH; j++) sum += inputs[t + j] * weight[r + j];
      total += sum * sum;
    }
  }
  return total;
}

test("the first layers' errors are what their definition says", async () => {
  const inputs = await firstInputs();
  for (const method of ["sparsegpt", "wanda"]) {
    const { files, result } = await compressFiles(stories, { method });
    const after = parseWeights(files).tensors;
    for (const { name, layerError } of result.layers.slice(0, 3)) {
      const before = floats(parseWeights(stories).tensors.get(`${name}.weight`)!);
      const pruned = floats(after.get(`${name}.weight`)!);
      const lost = Float64Array.from(before, (w, i) => w - pruned[i]);
      const expected = energy(inputs, lost) / energy(inputs, Float64Array.from(before));
      const difference = Math.abs(layerError! / expected - 1);
      assert.ok(difference < 1e-4, `${method} ${name}: ${layerError} against ${expected}`);
    }
  }
});

test("pruning a layer alone gives what compression gives", async () => {
  const { files, result } = await compressFiles(stories);
  const name = "model.layers.0.self_attn.k_proj";
  const { shape, layerError } = result.layers.find((l: LayerReport) => l.name === name)!;
  const alone = await pruneLinear({
    weight: floats(parseWeights(stories).tensors.get(`${name}.weight`)!),
    rows: shape[0],
    cols: shape[1],
    activations: Float32Array.from(await firstInputs()),
    sequences: SAMPLES,
  });
  const stored = floats(parseWeights(files).tensors.get(`${name}.weight`)!);
  let differing = 0;
  for (const [i, value] of stored.entries()) {
    // The stored one was rounded to bf16, 8 bits.
    if (Math.abs(alone.weight[i] - value) > Math.abs(value) * 2 ** -8 + 1e-6) differing++;
  }
  // Inputs that differ in their last bits may turn a close choice over.
  assert.ok(differing <= stored.length * 0.001, `${differing} of ${stored.length}`);
  assert.ok(Math.abs(alone.layerError! / layerError! - 1) < 0.01);
});

test.run();
