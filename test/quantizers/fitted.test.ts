// Levels that are not whole numbers, and float zero points: what is fitted to a matrix.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openReference } from "../../src/backends/reference.js";
import { fromFloat32, toFloat32 } from "../../src/checkpoint/dtype.js";
import { kMeans } from "../../src/least-squares/k-means.js";
import type { LinearProblem } from "../../src/method.js";
import { resolveOptions } from "../../src/options.js";
import { gptq } from "../../src/quantizers/gptq.js";
import { hqq } from "../../src/quantizers/hqq.js";
import { rtn } from "../../src/quantizers/rtn.js";
import { Random } from "../../src/random.js";
import { hessianOf, quadratic } from "../backends/grid-operands.js";

const test = suite("quantizers/fitted");

/** A layer's problem on the reference backend, and its parts. */
async function problemOf(w: Float32Array, cols: number, scaleType: "f16" | "bf16" = "bf16") {
  const backend = await openReference();
  const weight = backend.upload(w, [w.length / cols, cols]);
  const h = hessianOf(cols);
  const hessian = backend.upload(h, [cols, cols]);
  const sparsity = { kind: "unstructured", ratio: 0 } as const;
  const statistics = { sequences: 1, tokens: cols, tensors: { hessian } };
  const problem: LinearProblem = {
    ...{ name: "layer", weight, statistics, sparsity, backend, scaleType },
  };
  const held = async () => (await backend.read(weight)) as Float32Array;
  return { problem, h, held };
}

test("a matrix that was trained ternary is kept as it is", async () => {
  const random = new Random(5);
  const [rows, cols] = [12, 96];
  // One size for each row, as bf16 has it.
  const w = Float32Array.from({ length: rows * cols }, (_, i) => {
    return (Math.floor(3 * random.next()) - 1) * (3 + Math.floor(i / cols)) * 2 ** -9;
  });
  for (const groupSize of [32, "row"] as const) {
    const given = { levels: "ternary", groupSize };
    for (const method of [rtn, gptq]) {
      const options = resolveOptions(method.options, { ...given, refine: 1 }, "test");
      const { problem, held } = await problemOf(w, cols);
      const found = await method.prune(problem, options as never);
      assert.equal(await held(), w, `${method.name} by ${groupSize}`);
      assert.is(found.figures.objectiveAfter, 0);
    }
  }
});

test("each term lowers the error, and refining all of them does", async () => {
  const random = new Random(9);
  const cols = 64;
  const w = Float32Array.from({ length: 8 * cols }, () => random.next() ** 2 - 0.3);
  const errors: number[] = [];
  for (const [terms, refine] of [
    [1, 0],
    [1, 3],
    [2, 0],
    [2, 3],
    [3, 3],
  ]) {
    const options = resolveOptions(gptq.options, { levels: "binary", terms, refine }, "test");
    const { problem, held, h } = await problemOf(w, cols);
    const { figures } = await gptq.prune(problem, options);
    if (refine > 0) assert.ok(figures.objectiveAfter < figures.objectiveBefore);
    const found = await held();
    errors.push(
      quadratic(
        w.map((value, i) => value - found[i]),
        h,
        cols,
      ),
    );
  }
  const [one, refined, two, both, three] = errors;
  assert.ok(refined < one && two < 0.5 * one && both < two && three < both, `${errors}`);
});

test("k-means in one dimension, by hand", () => {
  const places = (at: number[], weights = at.map(() => 1)) => ({
    at: Float64Array.from(at),
    weights: Float64Array.from(weights),
  });
  assert.equal([...kMeans(places([-3, -1, 5, 9]), 2)], [-2, 7]);
  assert.equal([...kMeans(places([-3, -1, 5, 9], [1, 3, 1, 1]), 2)], [-1.5, 7]);
  // 0 lies halfway between -2 and 2, and belongs to the lower one: then they are -1 and 2.
  assert.equal([...kMeans(places([-2, 0, 2], [1, 1, 2]), 2)], [-1, 2]);
  // Fewer places than clusters: those without any stay where they began.
  assert.equal([...kMeans(places([4]), 4)], [4, 4, 4, 4]);
  assert.equal([...kMeans(places([]), 2)], [0, 0]);
});

test("a table comes near the levels that a matrix has", async () => {
  const random = new Random(2);
  const cols = 64;
  const levels = [-127, -40, 12, 100];
  const w = Float32Array.from({ length: 40 * cols }, () => levels[Math.floor(4 * random.next())]);
  for (let i = 0; i < w.length; i += 32) w[i] = -127;
  const options = resolveOptions(
    rtn.options,
    { levels: "table", bits: 2, weighted: false },
    "test",
  );
  const { problem, held } = await problemOf(w, cols);
  const { form } = await rtn.prune(problem, options);
  assert.ok(form?.kind === "leaf");
  assert.equal(
    [...((await problem.backend.read(form.parts.get("table")!)) as Float32Array)],
    levels,
  );
  assert.equal(await held(), w);
});

test("hqq is no worse than the float zero points that span the groups", async () => {
  const random = new Random(4);
  const [cols, size] = [64, 32];
  const w = Float32Array.from({ length: 16 * cols }, () => (random.next() - 0.4) ** 3);
  for (const bits of [2, 3, 4]) {
    const { problem, held } = await problemOf(w, cols, "f16");
    const { form } = await hqq.prune(problem, resolveOptions(hqq.options, { bits }, "test"));
    assert.ok(form?.kind === "leaf");
    const part = async (name: string) =>
      (await problem.backend.read(form.parts.get(name)!)) as Float32Array;
    const [scales, zeros] = [await part("scales"), await part("zeros")];
    assert.equal(toFloat32({ name: "", dtype: "F16" }, fromFloat32("F16", zeros)), zeros);
    const found = await held();
    let better = 0;
    scales.forEach((scale, group) => {
      const own = w.subarray(group * size, (group + 1) * size);
      const low = Math.min(...own);
      assert.ok(Math.abs(scale - (Math.max(...own) - low) / (2 ** bits - 1)) <= 2 ** -10 * scale);
      let [before, after] = [0, 0];
      own.forEach((value, i) => {
        const level = Math.max(0, Math.min(Math.round((value - low) / scale), 2 ** bits - 1));
        before += Math.abs(value - low - level * scale);
        after += Math.abs(value - found[group * size + i]);
      });
      assert.ok(after <= before * 1.01, `${bits} bits, group ${group}: ${after} after ${before}`);
      if (after < 0.99 * before) better++;
    });
    assert.ok(better > scales.length / 4, `${better} groups of ${scales.length} are better`);
  }
});

test.run();
