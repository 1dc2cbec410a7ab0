/** Grids of three levels, and of those of a table: their scales and codes. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { fitLevels } from "../../src/backends/reference/grid-levels.js";
import { entryOf, GridShape } from "../../src/backends/reference/grid-values.js";
import { refused } from "../checkpoint/crafted.js";
import {
  frameGrid,
  type GridCase,
  type HostGrid,
  levelsGrid,
  maskInput,
  maskOf,
  TABLES,
  upperFactor,
  valuesOf,
} from "./grid-operands.js";
import { input, OPENERS, output, random, randomValues } from "./operands.js";

const test = suite("grid-levels");

interface Given {
  readonly w: Float32Array;
  readonly omega: Float32Array;
  readonly mask: Uint8Array | undefined;
  readonly cols: number;
}

/** What a backend makes of a matrix by each operation: rounding, the sweep, and a pass of refining. */
async function made(
  backend: Backend,
  { w, omega, mask, cols }: Given,
  { symmetric, table, ...options }: GridCase,
  u: Float32Array,
  h: Float32Array,
): Promise<{ readonly grids: HostGrid[]; readonly values: Float32Array }> {
  const own = { ...options, mask: maskInput(backend, mask, cols) };
  const shape = [w.length / cols, cols] as const;
  const [one, two] = [0, 1].map(() => frameGrid(backend, shape, { ...options, symmetric, table }));
  const weights = backend.upload(omega, [cols]);
  await backend.ops.fitScales(input(backend, w, cols), weights, one.tensors, own);
  const grids = [await one.read()];
  const values = output(backend, new Float32Array(w.length), cols);
  await backend.ops.fromGrid(one.tensors, values.view, options);
  const swept = output(backend, w, cols);
  await backend.ops.gridSweep(swept.view, input(backend, u, cols), two.tensors, own);
  grids.push(await two.read());
  const d = valuesOf(grids[0], cols, options).map((value, i) => w[i] - value);
  // Whole numbers of which no sum is rounded, so that every backend is given the same.
  const gradient = output(
    backend,
    Float32Array.from(d, (value) => Math.round(64 * value)),
    cols,
  );
  await backend.ops.refineGrid(one.tensors, gradient.view, input(backend, h, cols), own);
  grids.push(await one.read());
  return { grids, values: await values.read() };
}

/** Weights of a few sizes, a row of zeros among them. */
function weightsOf(rows: number, cols: number): Float32Array {
  const w = randomValues(rows * cols).map((value) => value ** 3);
  if (rows > 1) w.fill(0, cols, 2 * cols);
  return w;
}

/** A diagonal of powers of two: what a change takes off the gradient is exact. */
function plainHessian(cols: number): Float32Array {
  const h = new Float32Array(cols * cols);
  for (let j = 0; j < cols; j++) h[j * (cols + 1)] = 2 ** (j % 3);
  return h;
}

const CASES: readonly (readonly [rows: number, cols: number, GridCase, isMasked?: boolean])[] = [
  [6, 33, levelsGrid("ternary", 32)],
  [70, 40, levelsGrid("ternary", 1000), true],
  ...TABLES.flatMap((table) =>
    [7, 32, 1000].map((groupSize) => [7, 72, levelsGrid(table, groupSize)] as const),
  ),
  [5, 64, { ...levelsGrid(TABLES[3], 32), search: false, scaleType: "bf16" }],
];

for (const [rows, cols, given, isMasked = false] of CASES) {
  const { table, isTernary, groupSize } = given;
  const what = `${rows}x${cols} ${isTernary ? "ternary" : `of ${table!.length}`} by ${groupSize}`;
  test(`${what}: every backend gives the same`, async () => {
    const w = weightsOf(rows, cols);
    const omega = Float32Array.from({ length: cols }, () => random() + 1e-3);
    const problem = { w, omega, mask: maskOf(w.length, isMasked), cols };
    // A sweep without feedback: with it, sums of errors differ in their last bits.
    const u = upperFactor(cols).map((value, i) => (i % (cols + 1) === 0 ? value : 0));
    const first = await made(await OPENERS[0](), problem, given, u, plainHessian(cols));
    for (const open of OPENERS.slice(1)) {
      const found = await made(await open(), problem, given, u, plainHessian(cols));
      assert.equal(found, first, open.name);
    }
    for (const { codes, scales } of first.grids) {
      assert.ok(scales.every((scale) => Number.isFinite(scale) && scale !== 0));
      assert.ok(codes.every((code) => code < 2 ** given.bits && (!isTernary || code > 0)));
    }
    const values = valuesOf(first.grids[0], cols, given);
    assert.equal(first.values, Float32Array.from(values));
    problem.mask?.forEach((kept, i) => {
      if (kept === 0) assert.is(Math.abs(values[i]), 0);
    });
  });
}

const SPREAD = Array.from({ length: 6 }, (_, i) => i);

for (const i of SPREAD) {
  test(`the scale of three levels is the best of all, ${i}`, () => {
    const n = 9;
    const x = randomValues(n);
    if (i > 2) x[3] = -x[5];
    const omega = Float32Array.from({ length: n }, () => random() ** 3 + 1e-3);
    const options = { bits: 2, groupSize: n, isTernary: true, search: true } as const;
    const shape = new GridShape(n, options);
    const { scale } = fitLevels(shape, x, omega, true, { ...options, scaleType: "f16" });
    // Every choice of what is not 0, with its own best scale.
    let [least, best] = [Number.POSITIVE_INFINITY, 0];
    for (let chosen = 1; chosen < 2 ** n; chosen++) {
      let [sum, weight] = [0, 0];
      for (let j = 0; j < n; j++) {
        if (!(chosen & (1 << j))) continue;
        sum += omega[j] * Math.abs(x[j]);
        weight += omega[j];
      }
      const own = sum / weight;
      const error = x.reduce((total, value, j) => {
        const level = chosen & (1 << j) ? own : 0;
        return total + omega[j] * (Math.abs(value) - level) ** 2;
      }, 0);
      if (error < least) [least, best] = [error, own];
    }
    assert.ok(Math.abs(scale - best) <= 2 ** -11 * best, `${scale}, must be ${best}`);
  });

  test(`the scale of two levels is the mean size of the weights, ${i}`, () => {
    const n = 20 + i;
    const x = randomValues(n);
    const omega = Float32Array.from({ length: n }, () => random() ** 3 + 1e-3);
    const options = { bits: 1, groupSize: n, search: true, scaleType: "f16" } as const;
    const shape = new GridShape(n, options, Float32Array.of(-1, 1));
    const { scale } = fitLevels(shape, x, omega, true, options);
    const sum = (of: (j: number) => number) => x.reduce((total, _, j) => total + of(j), 0);
    const mean = sum((j) => omega[j] * Math.abs(x[j])) / sum((j) => omega[j]);
    assert.ok(Math.abs(scale - mean) <= 2 ** -10 * mean, `${scale}, must be ${mean}`);
  });
}

test("a level halfway between two entries is the lower one", () => {
  const table = Float32Array.of(-127, -20, -20, 90);
  const entries = [-200, -73.5, -73, -20, 34.5, 35, 35.5, Number.NaN];
  assert.equal(
    entries.map((level) => entryOf(table, level)),
    [0, 0, 1, 1, 2, 2, 3, 0],
  );
});

for (const open of OPENERS) {
  test(`${open.name}: a matrix of three values is kept as it is, whatever its errors weigh`, async () => {
    const backend = await open();
    const [rows, cols] = [9, 100];
    const w = Float32Array.from({ length: rows * cols }, (_, i) => {
      return (Math.floor(3 * random()) - 1) * (0.01 * (1 + Math.floor(i / cols)));
    });
    const bits = new Uint32Array(w.buffer);
    // As bf16 has them.
    for (let i = 0; i < bits.length; i++) bits[i] &= 0xffff0000;
    const omega = Float32Array.from({ length: cols }, () => random() ** 6 + 1e-6);
    for (const groupSize of [32, 1000]) {
      const { symmetric, ...options } = levelsGrid("ternary", groupSize);
      const own = { ...options, scaleType: "bf16" } as const;
      const grid = frameGrid(backend, [rows, cols], { ...own, symmetric });
      const weights = backend.upload(omega, [cols]);
      await backend.ops.fitScales(input(backend, w, cols), weights, grid.tensors, own);
      assert.equal(Float32Array.from(valuesOf(await grid.read(), cols, own)), w);
      const swept = output(backend, w, cols);
      const u = input(backend, upperFactor(cols), cols);
      assert.is(await backend.ops.gridSweep(swept.view, u, grid.tensors, own), 0);
      assert.equal(await swept.read(), w);
    }
    backend.dispose();
  });

  test(`${open.name}: NaN and infinity show in the scales`, async () => {
    const backend = await open();
    const ones = backend.upload(new Float32Array(8).fill(1), [8]);
    for (const levels of ["ternary", TABLES[0], TABLES[3]] as const) {
      for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
        const { symmetric, table, ...options } = levelsGrid(levels, 4);
        const grid = frameGrid(backend, [1, 8], { ...options, symmetric, table });
        const w = input(backend, Float32Array.of(1, bad, 2, 3, 1, 2, 3, 4), 8);
        await backend.ops.fitScales(w, ones, grid.tensors, options);
        const { scales } = await grid.read();
        assert.not.ok(Number.isFinite(scales[0]), `${bad} became ${scales[0]}`);
        assert.ok(Number.isFinite(scales[1]));
      }
    }
    backend.dispose();
  });
}

test("grids that cannot be are refused", async () => {
  const backend = await OPENERS[0]();
  const [w, ones] = [backend.zeros([2, 8]), backend.zeros([8])];
  const codes = backend.zeros([2, 8], "u8");
  const grid = { codes, scales: backend.zeros([2, 2]) };
  const refuse = (pattern: RegExp, change: object, parts: object) => {
    const options = { bits: 2, groupSize: 4, scaleType: "f16", search: true, ...change } as const;
    return refused(
      async () => backend.ops.fitScales(w, ones, { ...grid, ...parts }, options),
      pattern,
    );
  };
  const zeros = backend.zeros([2, 2], "u8");
  const table = backend.zeros([4]);
  const three = /a ternary grid is a symmetric one of 2 bits/;
  await refuse(three, { isTernary: true, bits: 3 }, {});
  await refuse(three, { isTernary: true }, { zeros });
  await refuse(three, { isTernary: true }, { table });
  const four = /a grid with a table has at most 4 bits, and no zero points, units or mask/;
  await refuse(four, { bits: 5 }, { table: backend.zeros([32]) });
  await refuse(four, {}, { table, zeros });
  await refuse(four, { mask: backend.zeros([2, 8], "u8") }, { table });
  await refuse(/table has 4 elements, must have 8/, { bits: 3 }, { table });
  backend.dispose();
});

test.run();
