import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ArmorProblem } from "../../src/backends/reference/armor-problem.js";
import { armorStart, doublesOf } from "../armor-golden.js";
import { floatsOf, goldenLayer, intsOf, readShared, unpackBits } from "../golden.js";
import { sharedTest } from "../shared.js";
import { advance, openState, readState } from "./armor-layer.js";
import { assertWithin, OPENERS } from "./operands.js";

const test = suite("armor-golden");

const largestDifference = (a: ArrayLike<number>, b: ArrayLike<number>) => {
  assert.is(a.length, b.length);
  let largest = 0;
  for (let i = 0; i < a.length; i++) largest = Math.max(largest, Math.abs(a[i] - b[i]));
  return largest;
};

/** Values of a 2:4 matrix, two a group. */
const keptOf = (core: Float64Array, mask: Uint8Array) => core.filter((_, i) => mask[i] === 1);

for (const name of ["sq128", "dead128", "rect64x128"]) {
  for (const run of ["it5", "it60"]) {
    sharedTest(test, `golden ${name}.${run} in float64, with its picks`, async () => {
      const file = await readShared("golden", "armor_f64.safetensors");
      const h = Float64Array.from((await floatsOf(file, `${name}.h`))!);
      const { target, mask } = armorStart((await floatsOf(file, `${name}.W`))!, h);
      const [rows, cols] = [target.length / h.length, h.length];
      const shape = { rows, cols, blockRows: 32, blockCols: 32 };
      const problem = new ArmorProblem(target, h, mask, shape);
      const doubles = (what: string) => doublesOf(file, `${name}.${run}.${what}`);
      const [curve, norms] = [await doubles("curve"), await doubles("group_l1_first")];
      const picks = await intsOf(file, `${name}.${run}.picks`);
      const { pairs } = problem;
      const near = (actual: number, expected: number, what: string) =>
        assert.ok(Math.abs(actual / expected - 1) <= 1e-8, `${what}: ${actual}, not ${expected}`);
      near(problem.proxy, curve[0], "start");
      for (let i = 1; i < curve.length; i++) {
        problem.descend(1e-3);
        for (let pair = 0; i === 1 && pair < pairs; pair++) {
          for (const [g, norm] of problem.groupNorms(pair).entries()) {
            near(norm, norms[pair * 256 + g], `group ${g} of pair ${pair}`);
          }
        }
        problem.refine((pair) => picks[(i - 1) * pairs + pair]);
        near(problem.proxy, curve[i], `iteration ${i}`);
      }
      const kept = unpackBits(await file.read(`${name}.${run}.mask`), rows, cols);
      assert.equal(problem.mask, kept);
      assert.ok(largestDifference(problem.left, await doubles("A")) <= 1e-7);
      assert.ok(largestDifference(problem.right, await doubles("B")) <= 1e-7);
      assert.ok(largestDifference(keptOf(problem.core, kept), await doubles("S24")) <= 1e-7);
    });
  }
}

/** Golden float32 runs: learning rate, relative tolerance of f, absolute one of the factors. */
const REPLAYS: Readonly<Record<string, readonly [number, number, number]>> = {
  "armor_b32_lr1e-4_it1": [1e-4, 1e-6, 1e-6],
  "armor_b32_lr1e-3_it5": [1e-3, 5e-4, 3e-3],
  "armor_b32_lr1e-3_it60": [1e-3, 1e-3, 3e-2],
};

for (const open of OPENERS) {
  const isReference = open.name === "openReference";
  for (const name of isReference ? ["128x128"] : ["128x128", "128x128dead", "256x512", "512x256"]) {
    sharedTest(test, `${open.name}: golden ${name} in float32, with its picks`, async () => {
      const layer = await goldenLayer(name);
      const { rows, cols } = layer;
      const h =
        (await layer.floats("hessianDiag_validated")) ?? (await layer.floats("hessianDiag"));
      const { target, mask } = armorStart(layer.weight, h!);
      const file = await readShared("golden", `${name}.safetensors`);
      const backend = await open();
      for (const [run, [rate, relative, absolute]] of Object.entries(REPLAYS)) {
        if (!file.tensors.has(`${run}.picks`) || (isReference && run.endsWith("60"))) continue;
        const weights = Float32Array.from(target);
        const blocks = { blockRows: 32, blockCols: 32 };
        const shape = { rows, cols, ...blocks, target: weights, importance: h!, mask };
        const state = await openState(backend, shape);
        const picks = await intsOf(file, `${run}.picks`);
        const proxies = await advance(backend, state, picks, rate);
        const curve = await doublesOf(file, `${run}.curve_loss`);
        assertWithin(
          [state.startProxy, ...proxies],
          curve,
          (i) => relative * curve[i],
          `${name} ${run}: f`,
        );
        const read = await readState(backend, state, shape);
        const kept = await layer.mask(run);
        const differing = kept.reduce((sum, bit, i) => sum + Number(bit !== read.mask[i]), 0);
        assert.ok(differing <= 1e-3 * kept.length, `${name} ${run}: ${differing} mask bits`);
        const [A, B] = [await layer.floats(`${run}.A`), await layer.floats(`${run}.B`)];
        assert.ok(largestDifference(read.left, A!) <= absolute, `${name} ${run}: A`);
        assert.ok(largestDifference(read.right, B!) <= absolute, `${name} ${run}: B`);
        if (differing === 0) {
          const S = await layer.floats(`${run}.S24`);
          assert.ok(largestDifference(keptOf(read.core, kept), S!) <= absolute, `${run}: S`);
        }
        state.dispose();
      }
      backend.dispose();
    });
  }
}

test.run();
