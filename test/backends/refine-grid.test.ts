import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import {
  assertLevels,
  frameGrid,
  type GridCase,
  type HostGrid,
  hessianOf,
  kGrid,
  levelsGrid,
  maskInput,
  maskOf,
  quadratic,
  readerOf,
  TABLES,
  valuesOf,
} from "./grid-operands.js";
import { assertWithin, input, OPENERS, output, randomValues } from "./operands.js";

const test = suite("refine-grid");

const options = (bits: number, groupSize: number, symmetric = true): GridCase => ({
  bits,
  groupSize,
  symmetric,
  search: true,
  scaleType: "f16",
});

interface Problem {
  readonly w: Float32Array;
  readonly h: Float32Array;
  readonly mask: Uint8Array | undefined;
}

interface Pass {
  readonly grid: HostGrid;
  /** What f was before the pass and after it, in float64, and what the pass says that it fell by. */
  readonly before: number;
  readonly after: number;
  readonly fall: number;
}

/** Rounds a matrix to a grid, and refines it some times. */
async function refine(
  backend: Backend,
  { w, h, mask }: Problem,
  cols: number,
  { symmetric, hasMinima, table, ...given }: GridCase,
  passes = 1,
): Promise<readonly Pass[]> {
  const rows = w.length / cols;
  const grid = frameGrid(backend, [rows, cols], { ...given, symmetric, hasMinima, table });
  const own = { ...given, mask: maskInput(backend, mask, cols) };
  const ones = backend.upload(new Float32Array(cols).fill(1), [cols]);
  await backend.ops.fitScales(input(backend, w, cols), ones, grid.tensors, own);
  const hessian = input(backend, h, cols);
  // Where the mask removes, the target is 0: what is lost there is not to be made good.
  const errorOf = (held: HostGrid) =>
    Float32Array.from(valuesOf(held, cols, given), (value, i) => w[i] - value);
  const done: Pass[] = [];
  let d = errorOf(await grid.read());
  for (let pass = 0; pass < passes; pass++) {
    const gradient = output(backend, new Float32Array(w.length), cols);
    backend.ops.gemm(input(backend, d, cols), hessian, gradient.view);
    const before = quadratic(d, h, cols);
    const fall = await backend.ops.refineGrid(grid.tensors, gradient.view, hessian, own);
    await gradient.read();
    d = errorOf(await grid.read());
    done.push({ grid: await grid.read(), before, after: quadratic(d, h, cols), fall });
  }
  return done;
}

const CASES: readonly (readonly [rows: number, cols: number, GridCase, isMasked?: boolean])[] = [
  [1, 1, options(4, 32)],
  [5, 33, options(4, 32)],
  [9, 172, options(3, 32)],
  [70, 130, options(2, 48, false)],
  [3, 300, options(4, 256)],
  [4, 200, options(4, 1000, false)],
  [7, 64, options(1, 16)],
  [8, 96, options(4, 32), true],
  [2, 512, kGrid("Q4_K")],
  [5, 256, kGrid("Q5_K")],
  [2, 512, kGrid("Q6_K")],
  [4, 256, kGrid("Q6_K"), true],
  [70, 130, levelsGrid("ternary", 32)],
  [8, 96, levelsGrid("ternary", 48), true],
  ...TABLES.map((table, i) => [9, 100, levelsGrid(table, [16, 32, 48, 1000][i])] as const),
];

for (const open of OPENERS) {
  for (const [rows, cols, given, isMasked = false] of CASES) {
    const what = `${open.name}: ${rows}x${cols} ${JSON.stringify({ ...given, isMasked })}`;
    test(what, async () => {
      const backend = await open();
      const mask = maskOf(rows * cols, isMasked);
      const w = randomValues(rows * cols).map((value, i) => (mask?.[i] === 0 ? 0 : value));
      const problem = { w, h: hessianOf(cols), mask };
      const passes = await refine(backend, problem, cols, given, 6);
      for (const { before, after, fall } of passes) {
        assert.ok(after <= before * (1 + 1e-6), `f rose from ${before} to ${after}`);
        assertWithin([before - after], [fall], () => 1e-4 * before + 1e-6, `${what}: fall`);
      }
      const [{ before, grid: first }, { after, grid }] = [passes[0], passes.at(-1)!];
      assert.equal(grid.units, first.units);
      if (grid.units) assertLevels(grid);
      if (cols > 1) assert.ok(after < 0.95 * before, `f fell from ${before} to ${after} only`);
      mask?.forEach((kept, i) => {
        if (kept === 0) assert.is(grid.codes[i], readerOf(grid, cols, given)(i).zero);
      });
      backend.dispose();
    });
  }

  test(`${open.name}: at the end no code's neighbour is better`, async () => {
    const backend = await open();
    const [rows, cols] = [3, 40];
    const given = options(3, 16);
    const problem = { w: randomValues(rows * cols), h: hessianOf(cols), mask: undefined };
    const { grid } = (await refine(backend, problem, cols, given, 40)).at(-1)!;
    const read = readerOf(grid, cols, given);
    const values = valuesOf(grid, cols, given);
    const d = Float64Array.from(values, (value, i) => problem.w[i] - value);
    const { h } = problem;
    d.forEach((_, at) => {
      const [row, j] = [at - (at % cols), at % cols];
      let slope = 0;
      for (let k = 0; k < cols; k++) slope += d[row + k] * h[j * cols + k];
      for (const step of [-1, 1]) {
        const code = grid.codes[at] + step;
        if (code < 0 || code > 7) continue;
        const change = step * read(at).scale;
        const fall = 2 * change * slope - change ** 2 * h[j * (cols + 1)];
        assert.ok(fall < 1e-3, `the code at ${at} could be ${code}, and f lower by ${fall}`);
      }
    });
    backend.dispose();
  });

  test(`${open.name}: where columns have nothing to do with each other, nothing is better`, async () => {
    const backend = await open();
    const [rows, cols] = [4, 200];
    const h = new Float32Array(cols * cols);
    for (let j = 0; j < cols; j++) h[j * (cols + 1)] = 1 + (j % 7);
    const problem = { w: randomValues(rows * cols), h, mask: undefined };
    // A group this wide keeps its scale.
    const [{ fall, before, after }] = await refine(backend, problem, cols, options(4, 200));
    assert.is(fall, 0);
    assert.is(before, after);
    backend.dispose();
  });
}

test.run();
