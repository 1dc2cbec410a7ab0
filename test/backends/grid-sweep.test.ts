import { suite } from "uvu";
import * as assert from "uvu/assert";
import { gridBlocks } from "../../src/backends/operations/grid-sweep.js";
import { fitBlock } from "../../src/backends/reference/grid-blocks.js";
import { fitLevels } from "../../src/backends/reference/grid-levels.js";
import { GridShape, type GroupScale } from "../../src/backends/reference/grid-values.js";
import {
  frameGrid,
  type GridCase,
  type HostGrid,
  kGrid,
  levelsGrid,
  maskInput,
  maskOf,
  readerOf,
  TABLES,
  upperFactor,
  valuesOf,
} from "./grid-operands.js";
import { assertWithin, input, OPENERS, output, randomValues, seed } from "./operands.js";

const test = suite("grid-sweep");

const options = (bits: number, groupSize: number, symmetric = true): GridCase => ({
  bits,
  groupSize,
  symmetric,
  search: true,
  scaleType: "f16",
});

const CASES: readonly (readonly [rows: number, cols: number, GridCase, isMasked?: boolean])[] = [
  [0, 8, options(4, 4)],
  [1, 1, options(4, 32)],
  [5, 33, options(4, 32)],
  [9, 172, options(3, 32)],
  [70, 130, options(2, 48, false)],
  [3, 300, options(4, 256)],
  [4, 300, options(4, 1000, false)],
  [6, 260, options(8, 128)],
  [7, 64, options(1, 16)],
  [8, 96, options(4, 32), true],
  [8, 96, options(3, 32, false), true],
  [3, 512, kGrid("Q4_K")],
  [70, 256, kGrid("Q5_K")],
  [3, 768, kGrid("Q6_K")],
  [0, 256, kGrid("Q6_K", false)],
  [4, 256, kGrid("Q6_K"), true],
  [70, 130, levelsGrid("ternary", 32)],
  [8, 96, levelsGrid("ternary", 48), true],
  [5, 300, levelsGrid("ternary", 1000)],
  ...TABLES.map((table, i) => [9, 100, levelsGrid(table, [16, 32, 48, 1000][i])] as const),
];

type Levels = Pick<GridCase, "bits" | "isTernary" | "table">;

/** The value of a group's levels that is nearest to x. */
function nearestTo(
  x: number,
  { scale, zero, minimum = 0 }: GroupScale,
  { bits, isTernary, table }: Levels,
): number {
  const codes = Array.from({ length: 2 ** bits }, (_, code) => code);
  const values = codes
    .slice(isTernary ? 1 : 0)
    .map((code) => (table ? table[code] : code - zero) * scale - minimum);
  const size = (value: number) => Math.abs(value - x);
  return values.reduce((best, value) => (size(value) < size(best) ? value : best));
}

/** The weighted error of some values, each with its scale and zero point, in float64. */
function errorOf(
  x: Float32Array,
  omega: Float32Array,
  groupOf: (i: number) => GroupScale,
  levels: Levels,
): number {
  return x.reduce((sum, value, i) => {
    return sum + omega[i] * (nearestTo(value, groupOf(i), levels) - value) ** 2;
  }, 0);
}

/** Goes through the sweep in float64 with the codes that it chose, and holds each against the rules. */
function replay(
  before: Float32Array,
  u: Float32Array,
  mask: Uint8Array | undefined,
  grid: HostGrid,
  cols: number,
  { symmetric, hasMinima, table, ...given }: GridCase,
): { readonly loss: number; readonly values: Float64Array } {
  const { groupSize } = given;
  const levels = { ...given, table };
  const read = readerOf(grid, cols, given);
  const values = valuesOf(grid, cols, given);
  const shape = new GridShape(cols, given, table && Float32Array.from(table));
  const w = Float64Array.from(before);
  const omega = Float32Array.from({ length: cols }, (_, j) => 1 / u[j * (cols + 1)] ** 2);
  let loss = 0;
  for (let row = 0; row < before.length; row += cols) {
    for (let j = 0; j < cols; j++) {
      const at = row + j;
      const held = read(at);
      const isKept = (i: number) => mask?.[i] !== 0;
      const span = hasMinima === undefined ? groupSize : 256;
      if (j % span === 0) {
        const end = Math.min(cols, j + span);
        const x = Float32Array.from({ length: end - j }, (_, i) =>
          isKept(at + i) ? w[at + i] : 0,
        );
        const weights = omega.subarray(j, end);
        const best =
          hasMinima === undefined
            ? [fitLevels(shape, x, weights, symmetric, given)]
            : fitBlock(shape, x, weights, hasMinima, given).groups;
        const [found, least] = [
          (i: number) => read(at + i),
          (i: number) => best[Math.floor(i / groupSize)],
        ].map((groupOf) => errorOf(x, weights, groupOf, levels));
        assert.ok(found <= least * 1.001 + 1e-9, `the scale at ${at} costs ${found}, not ${least}`);
      }
      if (isKept(at)) {
        const [gap, least] = [values[at], nearestTo(w[at], held, levels)].map((value) =>
          Math.abs(value - w[at]),
        );
        assert.ok(gap <= least + 1e-4, `the value at ${at} is ${gap} away, not ${least}`);
      } else assert.is(Math.abs(values[at]), 0, `the masked value at ${at}`);
      const error = (w[at] - values[at]) / u[j * (cols + 1)];
      loss += error ** 2 / 2;
      for (let k = j; k < cols; k++) w[row + k] -= error * u[j * cols + k];
    }
  }
  return { loss, values };
}

/** |D U⁻¹|² / 2 for D [rows, n], by substitution: half of trace(D H Dᵀ). */
function lossOf(d: Float64Array, u: Float32Array, n: number): number {
  let sum = 0;
  for (let row = 0; row < d.length; row += n) {
    const e = new Float64Array(n);
    for (let j = 0; j < n; j++) {
      let rest = d[row + j];
      for (let i = 0; i < j; i++) rest -= e[i] * u[i * n + j];
      e[j] = rest / u[j * (n + 1)];
      sum += e[j] ** 2 / 2;
    }
  }
  return sum;
}

for (const open of OPENERS) {
  for (const [rows, cols, whole, isMasked = false] of CASES) {
    const { symmetric: _, hasMinima: __, table: ___, ...given } = whole;
    const what = `${open.name}: ${rows}x${cols} ${JSON.stringify({ ...whole, isMasked })}`;
    test(what, async () => {
      const backend = await open();
      const [before, u] = [randomValues(rows * cols), upperFactor(cols)];
      const mask = maskOf(before.length, isMasked);
      const w = output(backend, before, cols);
      const grid = frameGrid(backend, [rows, cols], whole);
      const factor = input(backend, u, cols);
      const loss = await backend.ops.gridSweep(w.view, factor, grid.tensors, {
        ...given,
        mask: maskInput(backend, mask, cols),
      });
      const made = await grid.read();
      const expected = replay(before, u, mask, made, cols, whole);
      assertWithin(await w.read(), expected.values, () => 0, `${what} seed ${seed}`);
      assertWithin([loss], [expected.loss], () => 1e-4 * expected.loss, `${what}: loss`);
      const moved = expected.values.map((value, i) => before[i] - value);
      const direct = lossOf(moved, u, cols);
      assertWithin([loss], [direct], () => 1e-4 * direct, `${what}: loss of what changed`);
      backend.dispose();
    });
  }

  test(`${open.name}: columns that have nothing to do with each other are rounded`, async () => {
    const backend = await open();
    const [rows, cols] = [5, 70];
    const w = randomValues(rows * cols);
    const u = new Float32Array(cols * cols);
    const scale = randomValues(cols).map((value) => 0.5 + Math.abs(value));
    for (let j = 0; j < cols; j++) u[j * (cols + 1)] = scale[j];
    const omega = backend.upload(
      scale.map((value) => 1 / value ** 2),
      [cols],
    );
    const { symmetric, ...given } = options(3, 32);
    const [one, two] = [0, 1].map(() => frameGrid(backend, [rows, cols], { ...given, symmetric }));
    await backend.ops.fitScales(input(backend, w, cols), omega, one.tensors, given);
    const swept = output(backend, w, cols);
    await backend.ops.gridSweep(swept.view, input(backend, u, cols), two.tensors, given);
    assert.equal(await two.read(), await one.read());
    backend.dispose();
  });

  test(`${open.name}: a matrix that is on the grid stays as it is`, async () => {
    const backend = await open();
    const [rows, cols] = [4, 160];
    const w = randomValues(rows * cols).map((value) => Math.round(100 * value) / 1024);
    // Both ends of the range in every group, so that the scale is 1 / 1024.
    for (let i = 0; i < w.length; i += 32) w.set([-100 / 1024, 155 / 1024], i);
    const { symmetric, ...given } = { ...options(8, 32, false), search: false };
    const grid = frameGrid(backend, [rows, cols], { ...given, symmetric });
    const swept = output(backend, w, cols);
    const u = input(backend, upperFactor(cols), cols);
    assert.is(await backend.ops.gridSweep(swept.view, u, grid.tensors, given), 0);
    assert.equal(await swept.read(), w);
    backend.dispose();
  });
}

test("blocks hold whole groups, or parts of one", () => {
  const cut = (cols: number, groupSize: number) =>
    gridBlocks(cols, groupSize).map(({ start, width }) => `${start}+${width}`);
  assert.equal(cut(300, 32), ["0+128", "128+128", "256+44"]);
  assert.equal(cut(100, 48), ["0+96", "96+4"]);
  assert.equal(cut(300, 128), ["0+128", "128+128", "256+44"]);
  assert.equal(cut(400, 192), ["0+128", "128+64", "192+128", "320+64", "384+16"]);
  assert.equal(cut(200, 1000), ["0+128", "128+72"]);
  assert.equal(cut(0, 32), []);
});

test.run();
