/** AWQ's scales: folds that change nothing, a search that never loses, and the step of a recipe. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import type { RecipeStep } from "../../src/compress/recipe.js";
import { compress } from "../../src/compress.js";
import { disposeBlock } from "../../src/models/decoder.js";
import { loadBlock } from "../../src/models/load.js";
import { readModel } from "../../src/models/stored.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { foldedGains } from "../../src/scaling/fold.js";
import { scaleGroups } from "../../src/scaling/groups.js";
import { EXPONENTS, scalesOf, searchScales } from "../../src/scaling/search.js";
import type { Tensor } from "../../src/tensor.js";
import { refused } from "../checkpoint/crafted.js";
import { openFiles, TINY_FAMILIES, tinyFiles } from "../models/tiny-model.js";
import { measure } from "../quantizers/acceptance.js";
import { foldedModel } from "../rotation/blocks.js";
import { note } from "../shared.js";
import { backend, foldsOf, gap, outputsOf, randomScales } from "./scale-folds.js";
import { CALIBRATION, convert, type Files, floats, parseWeights, storyFiles } from "./stories.js";

const test = suite("compress/scale");

/** Groups that a family's blocks have, where it is not all four. */
const GROUPS: Readonly<Record<string, number>> = {
  // Queries, keys and values lie head by head; what gelu lets through is in no proportion.
  gpt_neox: 2,
  gpt2: 3,
  // Its norms stand behind its layers.
  olmo2: 2,
};

for (const family of TINY_FAMILIES) {
  test(`${family}: scales folded into a block change nothing`, async () => {
    const model = readModel(await openFiles(tinyFiles(family)));
    const { groups, worst } = await foldsOf(model);
    note(`${family}: ${groups} groups, off by ${worst.toExponential(1)}`);
    assert.is(groups, GROUPS[family] ?? 4);
    assert.ok(worst < 1e-5, `${worst}`);
  });
}

test("gains are rounded first, and the scales become what was divided by", async () => {
  const bf16 = async (values: Float32Array) => {
    const bits = new Uint32Array(values.buffer.slice(0)).map((x) => (x + 0x8000) & 0xffff0000);
    return new Float32Array(bits.buffer);
  };
  const gains = Float32Array.of(1, -0.3, 0, 2.7, 1e-3);
  for (const plusOne of [false, true]) {
    const given = randomScales(5, 3);
    const folded = await foldedGains(gains, given, { plusOne }, bf16);
    for (const [i, gain] of gains.entries()) {
      const t = folded.scales[i];
      assert.ok(Math.abs(folded.gains[i] * t - gain) <= 1e-7 * Math.abs(gain), `${i}`);
      const stored = folded.gains[i] - Number(plusOne);
      const isKept = folded.gains[i] === gain;
      assert.ok(isKept || (await bf16(Float32Array.of(stored)))[0] === stored, `gain ${i}`);
      assert.ok(t / given[i] <= 2.001 || t === 1);
    }
    assert.is(folded.scales[2], 1);
  }
});

test("scales keep within 2^-6 and 2^6, and none are those of r = 0", () => {
  const activity = Float32Array.of(0, 1e-9, 1, 1e9);
  assert.equal([...scalesOf(activity, 0)], [1, 1, 1, 1]);
  assert.equal([...scalesOf(activity, 1)], [1, 2 ** -6, 1, 2 ** 6]);
  const half = scalesOf(Float32Array.of(1, 4, 16), 0.5);
  assert.equal([...half], [0.5, 1, 2]);
});

test("the search never loses, and its losses are those of the definition", async () => {
  const { problems, blocks } = await foldedModel(backend, "stories-1m", { samples: 8, length: 64 });
  const { statistics } = problems[1];
  for (const group of scaleGroups(blocks[1].spec, true)) {
    const { hessian } = statistics[group.input]!.tensors;
    const weights = group.consumers.map(({ name }) => blocks[1].linears[name].weight as Tensor);
    const found = await searchScales({
      ...{ backend, weights, hessian, group, scaleType: "bf16" },
      grid: { bits: 3, groupSize: 32, symmetric: true },
      fold: async (scales) => ({ scales }),
    });
    assert.is(found.losses.length, EXPONENTS.length);
    const best = Math.min(...found.losses);
    assert.is(found.losses[EXPONENTS.indexOf(found.exponent)], best);
    assert.ok(best <= found.losses[0]);
    note(
      `${group.input}: r = ${found.exponent}, ${(best / found.losses[0]).toFixed(3)} of the loss`,
    );
  }
});

/** Compresses with few windows. */
async function made(steps: readonly RecipeStep[], files: Files = storyFiles()): Promise<Files> {
  const out = memoryOutputFolder("out");
  const model = await openCheckpoint(memoryFolder(files, "model"));
  const recipe = { version: 2, steps, samples: 8, length: 64 } as const;
  await compress({ model, out, calibration: CALIBRATION, recipe, threads: 1 }).result();
  return out.files;
}

test("of a model that is not quantized after all, the output computes what it did", async () => {
  const source = await convert(storyFiles(), "F32");
  const only = { quantize: { bits: 3 }, match: ["model.layers.3.mlp.down_proj"] };
  const [plain, scaled] = [await made([only], source), await made([{ scale: {} }, only], source)];
  const blockOf = async (files: Files, layer: number) => {
    const model = readModel(await openFiles(files));
    const block = await loadBlock(model, backend, layer, { hold: "f32" });
    const out = await outputsOf(model, block);
    disposeBlock(block);
    return out;
  };
  for (const layer of [0, 1, 2]) {
    const off = gap(await blockOf(plain, layer), await blockOf(scaled, layer));
    assert.ok(off < 1e-5, `block ${layer}: ${off}`);
  }
  const name = "model.layers.0.post_attention_layernorm.weight";
  const [before, after] = [plain, scaled].map((files) => parseWeights(files).tensors.get(name)!);
  assert.is.not(String(before.bytes), String(after.bytes), "nothing was scaled");
});

test("in a bf16 model gains are stored as they were divided by", async () => {
  const files = await made([{ scale: {} }, { quantize: { bits: 3 } }]);
  const name = "model.layers.0.post_attention_layernorm.weight";
  const gains = floats(parseWeights(files).tensors.get(name)!);
  const before = floats(parseWeights(storyFiles()).tensors.get(name)!);
  assert.ok(gains.every((gain, i) => Math.abs(Math.log2(gain / before[i])) <= 6.01));
});

test("it stands behind a rotation without norms, and what cannot work is refused", async () => {
  const quantize = { quantize: { bits: 3 } };
  const rotate = { rotate: { scope: "shared", steps: 1 } };
  const linears = { scale: { fold: "linears" } } as const;
  await made([rotate, linears, quantize]);
  await made([{ rotate: { scope: "heads", steps: 1 } }, { scale: {} }, quantize]);
  await made([{ scale: {} }, { quantize: { bits: 3, anchor: 0.5, anchorResidual: 0.5 } }]);
  await refused(
    () => made([rotate, { scale: {} }, quantize]),
    /\[scale\] behind a rotation the norms' gains are 1 and must stay so.*fold: linears/,
  );
  await refused(() => made([{ scale: {} }]), /\[scale\].*nothing rounds them/);
  await refused(() => made([{ scale: {} }, rotate, quantize]), /rotate cannot follow scale/);
  await refused(() => made([quantize, { scale: {} }]), /scale cannot follow quantize/);
});

test("by it rounding to nearest in large groups loses no more in the layers that it scales", async () => {
  const quantize = { quantize: { method: "rtn", bits: 3, groupSize: 128 } } as const;
  const plain = await measure({ steps: [quantize] });
  const scaled = await measure({ steps: [{ scale: {} }, quantize] });
  note(`rtn, 3 bits, 128: KL ${plain.kl.toFixed(4)}, scaled ${scaled.kl.toFixed(4)}`);
  assert.ok(scaled.meanError < 1.02 * plain.meanError, `${scaled.meanError}`);
});

test.run();
