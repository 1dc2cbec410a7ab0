import { suite } from "uvu";
import * as assert from "uvu/assert";
import { definePlugin, keepBest, type Method, type Statistic } from "../../src/kit.js";
import { refused } from "../checkpoint/crafted.js";
import { compressFiles, convert, type Files, parseWeights, storyFiles } from "./stories.js";

const test = suite("statistics within a block");

/** The linears of the first block that share an input, in the order of a forward. */
const GROUPS = [
  ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
  ["self_attn.o_proj"],
  ["mlp.gate_proj", "mlp.up_proj"],
  ["mlp.down_proj"],
].map((names) => names.map((name) => `model.layers.0.${name}`));
const ALL = GROUPS.flat();

/** Prunes some linears alone, in files of f32 that keep each value. */
async function pruned(
  files: Files,
  match: readonly string[],
  prune: Readonly<Record<string, string | number>>,
  statistics?: "true-sequential",
): Promise<Files> {
  const recipe = { version: 2, statistics, steps: [{ prune, match }] };
  const out = await compressFiles(files, recipe as never);
  assert.ok(out.result.layers.every(({ layerError }) => layerError! > 0));
  return out.files;
}

function weightOf(files: Files, layer: string): Uint8Array {
  return parseWeights(files).tensors.get(`${layer}.weight`)!.bytes;
}

for (const method of ["sparsegpt", "wanda"]) {
  test(`${method}: what a linear reads comes from the linears before it as they are now`, async () => {
    const model = await convert(storyFiles(), "F32");
    const prune = { method, sparsity: "2:4" };
    const found = await pruned(model, ALL, prune, "true-sequential");
    let step: Files = model;
    for (const group of GROUPS) step = await pruned(step, group, prune);
    const together = await pruned(model, ALL, prune);
    for (const name of ALL) {
      assert.equal(weightOf(found, name), weightOf(step, name), name);
      const isSame = Buffer.compare(weightOf(found, name), weightOf(together, name)) === 0;
      assert.is(isSame, GROUPS[0].includes(name), name);
    }
  });
}

test("linears that are pruned and then quantized: each step gathers anew", async () => {
  const model = await convert(storyFiles(), "F32");
  const prune = { prune: { method: "wanda", sparsity: "2:4" }, match: ALL };
  const quantize = { quantize: { method: "gptq", bits: 4 }, match: ALL };
  const run = async (files: Files, steps: readonly object[], statistics = "true-sequential") => {
    const recipe = { version: 2, statistics, steps, layout: "dense" };
    return (await compressFiles(files, recipe as never)).files;
  };
  const found = await run(model, [prune, quantize]);
  const alone = await run(model, [prune]);
  const plain = await run(model, [prune, quantize], "sequential");
  for (const name of ALL) {
    const values = (files: Files) => new Float32Array(weightOf(files, name).slice().buffer);
    const quantized = values(found);
    assert.ok(
      values(alone).every((value, i) => value !== 0 || quantized[i] === 0),
      name,
    );
    const isSame = Buffer.compare(weightOf(found, name), weightOf(plain, name)) === 0;
    assert.is(isSame, GROUPS[0].includes(name), name);
  }
});

/** The squares of the dense model's inputs, and of those that the layer really gets. */
const inputs: Statistic = {
  name: "inputs",
  summary: "squares of the inputs in both models",
  sees: "both",
  shape: (inFeatures) => [2, inFeatures],
  add(backend, batch, gathered, _, dense) {
    const columns = gathered.shape[1];
    for (const [row, of] of [dense!, batch].entries()) {
      const one = backend.rows(gathered, row, 1, columns);
      backend.ops.accumulateColumnSquares(of, { ...one, shape: [columns] } as never);
    }
    return [];
  },
  turn() {},
};

const seen = new Map<string, number[]>();

const probe: Method<Record<never, never>> = {
  name: "probe",
  summary: "keep the largest weights, and tell what the inputs were",
  source: "this test",
  options: {},
  needs: () => ["inputs"],
  async prune(problem) {
    const squares = (await problem.backend.read(problem.statistics.tensors.inputs)) as Float32Array;
    const sum = (values: Float32Array) => values.reduce((all, value) => all + value, 0);
    const half = squares.length / 2;
    seen.set(problem.name, [sum(squares.subarray(0, half)), sum(squares.subarray(half))]);
    return keepBest(problem, {}, "matrix");
  },
};

test("the dense model's inputs stay those of the dense model, in later blocks too", async () => {
  const plugins = [
    definePlugin({ name: "probe", version: "1.0.0", methods: [probe], statistics: [inputs] }),
  ];
  const look = async (statistics: "sequential" | "true-sequential", sparsity: string) => {
    seen.clear();
    const recipe = { method: "probe", sparsity, statistics } as never;
    await compressFiles(storyFiles(), recipe, { plugins });
    return new Map(seen);
  };
  const dense = await look("sequential", "0%");
  const sequential = await look("sequential", "2:4");
  const strict = await look("true-sequential", "2:4");
  assert.ok(dense.size > 7);
  for (const [name, [before, now]] of dense) {
    assert.is(before, now, `${name}: nothing was changed`);
    assert.is(sequential.get(name)![0], before, name);
    assert.is(strict.get(name)![0], before, name);
    const isFirst = name.startsWith("model.layers.0.");
    const isRead = isFirst && GROUPS[0].includes(name);
    assert.is(sequential.get(name)![1] === before, isFirst, name);
    assert.is(strict.get(name)![1] === before, isRead, name);
  }
});

test("an unknown way to gather is refused", async () => {
  await refused(
    () => compressFiles(storyFiles(), { statistics: "linear" } as never),
    /^\[recipe\] statistics is "linear", must be "sequential", "true-sequential" or "dense"/,
  );
});

test.run();
