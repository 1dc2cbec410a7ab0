import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { ArmorProblem } from "../../src/backends/reference/armor-problem.js";
import {
  advance,
  bestOfGroup,
  type Factors,
  groupStart,
  groupsOf,
  layerOf,
  measure,
  openState,
  readState,
  type Shape,
  startOf,
} from "./armor-layer.js";
import { assertWithin, EPSILON, OPENERS, random, seed } from "./operands.js";

const test = suite("armor");

/** Rows, columns, size of A's blocks, size of B's. */
const SHAPES: readonly Shape[] = [
  [0, 8, 4, 4],
  [1, 4, 1, 4],
  [4, 4, 4, 4],
  [3, 8, 3, 8],
  [10, 12, 5, 12],
  [8, 16, 4, 8],
  [31, 36, 31, 12],
  [33, 24, 11, 4],
  [172, 20, 4, 20],
  [64, 64, 32, 32],
  [64, 128, 16, 64],
  [43, 40, 43, 40],
  [128, 128, 128, 128],
];

for (const open of OPENERS) {
  for (const shape of SHAPES) {
    const what = `${open.name}: ${shape[0]}x${shape[1]}, blocks of ${shape[2]} and ${shape[3]}`;

    test(`${what}: Adam's first step follows the gradients`, async () => {
      const backend = await open();
      const layer = layerOf(shape);
      const state = await openState(backend, layer);
      const start = startOf(layer);
      const expected = measure(layer, start);
      assertWithin([state.startProxy], [expected.proxy], () => 1e-5 * expected.proxy, what);
      // A pick that is no group skips the second half.
      const rate = 1e-4;
      const none = new Int32Array(state.pairs).fill(-1);
      const [proxy] = state.pairs > 0 ? await advance(backend, state, none, rate) : [0];
      const moved = (values: Float64Array, gradient: number[]) =>
        values.map((value, i) => value - (rate * gradient[i]) / (Math.abs(gradient[i]) + 1e-8));
      const after: Factors = {
        left: moved(start.left, expected.left),
        right: moved(start.right, expected.right),
        // The kept values of S are those of W̄, so they start without gradient.
        core: start.core,
      };
      const { proxy: expectedProxy } = measure(layer, after);
      assertWithin([proxy], [expectedProxy], () => 1e-4 * expected.proxy, `${what}: proxy`);
      if (!(proxy < state.startProxy)) return;
      const read = await readState(backend, state, layer);
      const gradientError = 1e-5 * Math.sqrt(layer.blockRows * layer.blockCols);
      const bound = (gradient: number[]) => {
        const largest = Math.max(...gradient.map(Math.abs));
        // The step is the gradient's sign: only gradients that are clearly not 0 fix it.
        return (i: number) =>
          Math.abs(gradient[i]) > gradientError * largest ? 2 * EPSILON + 0.01 * rate : 2.1 * rate;
      };
      assertWithin(read.left, after.left, bound(expected.left), `${what}: A, seed ${seed}`);
      assertWithin(read.right, after.right, bound(expected.right), `${what}: B, seed ${seed}`);
      state.dispose();
      backend.dispose();
    });

    test(`${what}: a group's step finds the best of the six supports`, async () => {
      const backend = await open();
      const layer = layerOf(shape);
      const state = await openState(backend, layer);
      if (state.pairs === 0) return;
      const none = new Int32Array(state.pairs).fill(-1);
      // Steps away from the identity first, large enough to make other supports better.
      for (let i = 0; i < 3; i++) await advance(backend, state, none, 0.003);
      const groups = groupsOf(layer);
      const picks = none.map(() => Math.floor(random() * groups));
      const [moved] = await advance(backend, state, none, 0);
      const [refined] = await advance(backend, state, picks, 0);
      const [again] = await advance(backend, state, picks, 0);
      assert.ok(refined <= moved * (1 + 1e-6), `${what}: f rose from ${moved} to ${refined}`);
      assertWithin([again], [refined], () => 1e-5 * refined, `${what}: not the optimum`);
      if (!(refined < state.startProxy)) return;
      const factors = await readState(backend, state, layer);
      const { proxy } = measure(layer, factors);
      assertWithin([proxy], [refined], () => 1e-4 * refined, `${what}: f, seed ${seed}`);
      // No two values on any support do better in any of the first pairs.
      for (let pair = 0; pair < Math.min(layer.target.length > 4096 ? 1 : 2, state.pairs); pair++) {
        const at = groupStart(layer, pair, picks[pair]);
        const best = bestOfGroup(layer, factors, at);
        const change = proxy - best;
        assert.ok(change <= 1e-5 * proxy, `${what}: pair ${pair} could fall by ${change}`);
      }
      state.dispose();
      backend.dispose();
    });
  }

  test(`${open.name}: a number draws a group by its share of the gradient`, async () => {
    for (const shape of [SHAPES[5], SHAPES[7]]) {
      const layer = layerOf(shape);
      const gradient = measure(layer, startOf(layer)).core;
      const groups = groupsOf(layer);
      const norms = Array.from({ length: groups }, (_, group) => {
        const at = groupStart(layer, 0, group);
        return gradient.slice(at, at + 4).reduce((sum, g) => sum + Math.abs(g), 0);
      });
      const total = norms.reduce((sum, norm) => sum + norm, 0);
      let before = 0;
      for (const [group, norm] of norms.entries()) {
        const backend = await open();
        const state = await openState(backend, layer);
        const choices = new Float32Array(state.pairs).fill((before + norm / 2) / total);
        before += norm;
        // Only the drawn group's values differ afterwards: at A = B = I they move to other places
        // or stay, so the factors are moved first by a step that draws nothing.
        await advance(backend, state, new Int32Array(state.pairs).fill(-1), 1e-6);
        const moved = await readState(backend, state, layer);
        await advance(backend, state, choices, 0);
        const drawn = await readState(backend, state, layer);
        const changed = new Set<number>();
        for (let g = 0; g < groups; g++) {
          const at = groupStart(layer, 0, g);
          for (let i = at; i < at + 4; i++) if (moved.core[i] !== drawn.core[i]) changed.add(g);
        }
        assert.equal([...changed], [group], `shape ${shape}, seed ${seed}`);
        backend.dispose();
      }
    }
  });

  test(`${open.name}: without gradient or importance nothing moves`, async () => {
    const backend = await open();
    const exact = layerOf(SHAPES[9]);
    exact.target.forEach((w, i) => {
      exact.target[i] = w * exact.mask[i];
    });
    const ignored = { ...layerOf(SHAPES[9]), importance: new Float32Array(SHAPES[9][1]) };
    for (const layer of [exact, ignored]) {
      const state = await openState(backend, layer);
      assert.is(state.startProxy, 0);
      const choices = new Float32Array(3 * state.pairs).fill(0.5);
      assert.equal([...(await advance(backend, state, choices, 0.1))], [0, 0, 0]);
      const { left, core } = await readState(backend, state, layer);
      assert.equal(left, startOf(layer).left);
      assert.equal(core, startOf(layer).core);
    }
    backend.dispose();
  });

  test(`${open.name}: the same choices give the same bits, in any number of calls`, async () => {
    const backend = await open();
    const layer = layerOf(SHAPES[8]);
    const [one, other] = [await openState(backend, layer), await openState(backend, layer)];
    const choices = Float32Array.from({ length: 6 * one.pairs }, random);
    const together = await advance(backend, one, choices, 0.01);
    const parts = [0, 1, 2, 3, 4, 5].map((i) => choices.slice(i * one.pairs, (i + 1) * one.pairs));
    const apart: number[] = [];
    for (const part of parts) apart.push(...(await advance(backend, other, part, 0.01)));
    assert.equal([...together], apart);
    assert.equal(await readState(backend, one, layer), await readState(backend, other, layer));
    const { live } = backend.memory();
    one.dispose();
    other.dispose();
    other.dispose();
    assert.ok(open.name === "openReference" || backend.memory().live < live);
    backend.dispose();
  });

  test(`${open.name}: a saved state goes on with the same bits`, async () => {
    const backend = await open();
    const layer = layerOf(SHAPES[4]);
    const [one, other] = [await openState(backend, layer), await openState(backend, layer)];
    const choices = [0, 1].map(() => Float32Array.from({ length: 4 * one.pairs }, random));
    await advance(backend, one, choices[0], 0.01);
    const saved = await backend.ops.armorSave(one);
    backend.ops.armorLoad(other, saved);
    assert.equal(await backend.ops.armorSave(other), saved);
    assert.equal(await readState(backend, other, layer), await readState(backend, one, layer));
    const expected = await advance(backend, one, choices[1], 0.01);
    saved.fill(0);
    assert.equal(await advance(backend, other, choices[1], 0.01), expected);
    const ends = [await backend.ops.armorSave(one), await backend.ops.armorSave(other)];
    assert.equal(ends[1], ends[0]);
    one.dispose();
    other.dispose();
    backend.dispose();
  });

  test(`${open.name}: an aborted signal ends it`, async () => {
    const backend = await open();
    // Several iterations within the time that may pass, so that it does end between two.
    const isWasm = open.name.startsWith("openWasm") || open.name === "openThreads";
    const [rows, cols] = isWasm ? [512, 512] : [64, 128];
    const layer = layerOf([rows, cols, 32, 32]);
    const state = await openState(backend, layer);
    const choices = backend.upload(new Float32Array(400 * state.pairs), [400, state.pairs]);
    const controller = new AbortController();
    let start = 0;
    setTimeout(() => {
      start = performance.now();
      controller.abort(new Error("enough"));
    }, 50);
    const { signal } = controller;
    await backend.ops.armorAdvance(state, choices, { learningRate: 1e-4, signal }).then(
      () => assert.unreachable("it ran to its end"),
      (error) => assert.is(error.message, "enough"),
    );
    const late = performance.now() - start;
    // 100 ms on an idle machine; the tests share theirs with one another.
    assert.ok(late < 400, `it went on for ${late} ms`);
    backend.dispose();
  });

  test(`${open.name}: refuses what does not fit`, async () => {
    const backend = await open();
    const [target, mask] = [backend.zeros([8, 8]), backend.zeros([8, 8], "u8")];
    const openWith = (blockRows: number, blockCols: number) => () =>
      backend.ops.armorOpen(target, backend.zeros([8]), mask, { blockRows, blockCols });
    assert.throws(openWith(3, 4), /blocks of 3 do not divide 8 rows/);
    assert.throws(openWith(4, 2), /blocks of 2 must divide 8 columns and be a multiple of 4/);
    const state = await openWith(4, 4)();
    const advanceBy = (choices: ReturnType<Backend["zeros"]>) => () =>
      backend.ops.armorAdvance(state, choices, { learningRate: 0 });
    assert.throws(advanceBy(backend.zeros([1, 3])), /must have one for each of 4 pairs/);
    assert.throws(advanceBy(backend.zeros([1, 4], "u8")), /choices is u8, must be f32/);
    backend.dispose();
  });
}

test("the reference's gradients are finite differences of f", () => {
  const layer = layerOf([6, 16, 3, 8]);
  const { target, importance, mask } = layer;
  const doubles = [target, importance].map((values) => Float64Array.from(values));
  const problem = new ArmorProblem(doubles[0], doubles[1], mask, layer);
  for (let i = 0; i < 3; i++) {
    problem.descend(0.03);
    problem.refine((pair) => (pair + i) % groupsOf(layer));
  }
  for (const name of ["left", "right", "core"] as const) {
    const gradient = problem.gradients[name];
    const size = Math.max(...gradient.map(Math.abs));
    for (let i = 0; i < gradient.length; i++) {
      const at = (delta: number) => {
        const values = problem[name].slice();
        values[i] += delta;
        return measure(layer, { ...factorsOf(problem), [name]: values }).proxy;
      };
      const difference = (at(1e-5) - at(-1e-5)) / 2e-5;
      assertWithin([gradient[i]], [difference], () => 1e-6 * size, `d${name}[${i}] seed ${seed}`);
    }
  }
  const { proxy } = measure(layer, problem);
  assertWithin([problem.proxy], [proxy], () => 1e-12, "f");
});

function factorsOf({ left, right, core }: ArmorProblem): Factors {
  return { left, right, core };
}

test.run();
