// The sweep onto a grid that chooses which weights go on its way.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { gridBlocks, type KeptPattern } from "../../src/backends/operations/grid-sweep.js";
import { fitBlock } from "../../src/backends/reference/grid-blocks.js";
import { fitGroup, GridShape } from "../../src/backends/reference/grid-values.js";
import { keepLargest } from "../../src/backends/selection.js";
import { refused } from "../checkpoint/crafted.js";
import {
  frameGrid,
  type GridCase,
  kGrid,
  readerOf,
  upperFactor,
  valuesOf,
} from "./grid-operands.js";
import {
  assertWithin,
  input,
  OPENERS,
  output,
  outputBytes,
  randomValues,
  seed,
} from "./operands.js";

const test = suite("joint-sweep");

const TWO_FOUR: KeptPattern = { n: 2, m: 4 };

const grid = (bits: number, groupSize: number): GridCase => ({
  ...{ bits, groupSize, symmetric: true, search: true, scaleType: "f16" },
});

const CASES: readonly (readonly [rows: number, cols: number, GridCase, KeptPattern])[] = [
  [0, 8, grid(4, 4), TWO_FOUR],
  [1, 4, grid(4, 32), TWO_FOUR],
  [9, 172, grid(4, 32), TWO_FOUR],
  [70, 128, grid(8, 32), TWO_FOUR],
  [5, 300, grid(3, 48), TWO_FOUR],
  [3, 300, grid(4, 1000), TWO_FOUR],
  [4, 276, grid(4, 276), { n: 5, m: 12 }],
  [6, 64, grid(4, 16), { n: 4, m: 8 }],
  [6, 48, grid(2, 16), { n: 1, m: 16 }],
  [3, 64, grid(4, 32), { n: 4, m: 4 }],
  [3, 512, kGrid("Q6_K"), TWO_FOUR],
];

/** Sweeps random weights; what came out, on the host. */
async function sweep(
  backend: Backend,
  before: Float32Array,
  u: Float32Array,
  cols: number,
  { symmetric, hasMinima, ...given }: GridCase,
  pattern: KeptPattern,
) {
  const rows = before.length / cols;
  const w = output(backend, before, cols);
  const mask = outputBytes(backend, before.length, cols);
  const made = frameGrid(backend, [rows, cols], {
    ...given,
    symmetric,
    ...(hasMinima !== undefined && { hasMinima }),
  });
  const options = { ...given, mask: mask.view, pattern };
  const loss = await backend.ops.gridSweep(w.view, input(backend, u, cols), made.tensors, options);
  return { loss, values: await w.read(), mask: await mask.read(), grid: await made.read() };
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

/** What a group of m keeps of weights, in float64; undefined where scores are too near to tell. */
function keptOf(
  x: Float64Array,
  omega: Float32Array,
  { n, m }: KeptPattern,
): Uint8Array | undefined {
  const scores = Float32Array.from(x, (value, i) => value * value * omega[i]);
  const falling = scores.slice().sort().reverse();
  if (n < m && falling[n - 1] - falling[n] < 1e-3 * falling[0]) return undefined;
  const kept = new Uint8Array(m);
  keepLargest(scores, kept, 0, n, m);
  return kept;
}

for (const open of OPENERS) {
  for (const [rows, cols, whole, pattern] of CASES) {
    const { m, n } = pattern;
    const what = `${open.name}: ${rows}x${cols} ${n}:${m} ${JSON.stringify(whole)}`;
    test(what, async () => {
      const backend = await open();
      const [before, u] = [randomValues(rows * cols), upperFactor(cols)];
      const made = await sweep(backend, before, u, cols, whole, pattern);
      const { loss, mask } = made;
      const values = valuesOf(made.grid, cols, whole);
      assertWithin(made.values, values, () => 0, `${what} seed ${seed}`);
      for (let i = 0; i < mask.length; i += m) {
        assert.is(
          mask.subarray(i, i + m).reduce((sum, one) => sum + one, 0),
          n,
        );
      }
      mask.forEach((kept, i) => {
        if (kept === 0) assert.is(made.grid.codes[i], 2 ** (whole.bits - 1));
      });
      const moved = values.map((value, i) => before[i] - value);
      const direct = lossOf(moved, u, cols);
      assertWithin([loss], [direct], () => 1e-4 * direct, `${what}: loss of what changed`);
      replay(before, u, made, cols, whole, pattern);
      backend.dispose();
    });
  }

  test(`${open.name}: with a fine grid it prunes as the column sweep does`, async () => {
    const backend = await open();
    const [rows, cols] = [64, 128];
    const [before, u] = [randomValues(rows * cols), upperFactor(cols)];
    const { loss, mask, values } = await sweep(backend, before, u, cols, grid(8, 4), TWO_FOUR);
    const pruned = output(backend, before, cols);
    const kept = outputBytes(backend, before.length, cols);
    const expected = await backend.ops.columnSweep(
      ...([pruned.view, input(backend, u, cols), kept.view] as const),
      { pattern: TWO_FOUR, blockSize: 128 },
    );
    assert.ok(Math.abs(loss / expected - 1) < 0.005, `loss ${loss} of ${expected}, seed ${seed}`);
    const [there, weights] = [await kept.read(), await pruned.read()];
    const other = mask.filter((one, i) => one !== there[i]).length;
    assert.ok(other < 0.02 * mask.length, `${other} of ${mask.length} are chosen otherwise`);
    const far = values.filter(
      (value, i) => mask[i] === there[i] && Math.abs(value - weights[i]) > 0.05,
    );
    assert.ok(far.length < 0.02 * mask.length, `${far.length} values are far off`);
    backend.dispose();
  });

  test(`${open.name}: bad patterns`, async () => {
    const backend = await open();
    const w = backend.upload(randomValues(96), [2, 48]);
    const u = backend.upload(upperFactor(48), [48, 48]);
    const made = frameGrid(backend, [2, 48], { groupSize: 6, symmetric: true });
    const mask = backend.zeros([2, 48], "u8");
    const given = { bits: 4, groupSize: 6, search: false, scaleType: "f16" } as const;
    const run = (more: object) => () =>
      backend.ops.gridSweep(w, u, made.tensors, { ...given, ...more });
    await refused(run({ pattern: TWO_FOUR }), /a pattern needs a mask/);
    await refused(run({ pattern: TWO_FOUR, mask }), /groupSize 6 is not a multiple of M=4/);
    await refused(run({ pattern: { n: 2, m: 5 }, mask }), /48 columns are not a multiple of M=5/);
    backend.dispose();
  });
}

/** Goes through the sweep in float64 with the values that it chose, and holds masks and scales against the rules. */
function replay(
  before: Float32Array,
  u: Float32Array,
  { mask, grid: made, values }: Awaited<ReturnType<typeof sweep>>,
  cols: number,
  whole: GridCase,
  pattern: KeptPattern,
): void {
  const { m } = pattern;
  const { groupSize, hasMinima } = whole;
  const omega = Float32Array.from({ length: cols }, (_, j) => 1 / u[j * (cols + 1)] ** 2);
  const read = readerOf(made, cols, whole);
  const shape = new GridShape(cols, whole);
  const w = Float64Array.from(before);
  for (let row = 0; row < before.length; row += cols) {
    for (let j = 0; j < cols; j++) {
      const at = row + j;
      const span = hasMinima === undefined ? groupSize : 256;
      if (j % span === 0) holdScale(at, Math.min(cols, j + span) - j, j);
      if (j % m === 0) {
        const kept = keptOf(w.subarray(at, at + m), omega.subarray(j, j + m), pattern);
        if (kept) assert.equal(mask.slice(at, at + m), kept, `the mask at ${at}, seed ${seed}`);
      }
      const error = (w[at] - values[at]) / u[j * (cols + 1)];
      for (let k = j; k < cols; k++) w[row + k] -= error * u[j * cols + k];
    }
  }

  /** The scale of a group is one that the weights which would stay are fitted by. */
  function holdScale(at: number, length: number, j: number): void {
    const x = new Float32Array(length);
    for (let i = 0; i < length; i += m) {
      const kept = keptOf(
        w.subarray(at + i, at + i + m),
        omega.subarray(j + i, j + i + m),
        pattern,
      );
      if (!kept) return;
      kept.forEach((one, k) => {
        x[i + k] = one === 1 ? w[at + i + k] : 0;
      });
    }
    const weights = omega.subarray(j, j + length);
    const groups =
      hasMinima === undefined
        ? [fitGroup(shape, x, weights, true, whole)]
        : fitBlock(shape, x, weights, hasMinima, whole).groups;
    const errorOf = (scaleOf: (i: number) => ReturnType<typeof read>) =>
      x.reduce((sum, value, i) => {
        const group = scaleOf(i);
        return sum + weights[i] * (shape.value(shape.code(value, group), group) - value) ** 2;
      }, 0);
    const least = errorOf((i) => ({ minimum: 0, ...groups[Math.floor(i / groupSize)] }) as never);
    const found = errorOf((i) => read(at + i));
    assert.ok(found <= least * 1.001 + 1e-9, `the scale at ${at} costs ${found}, not ${least}`);
  }
}

test("every backend chooses the same codes and masks", async () => {
  const [rows, cols] = [24, 192];
  const before = randomValues(rows * cols);
  const diagonal = upperFactor(cols).map((value, i) => (i % (cols + 1) === 0 ? value : 0));
  for (const [u, least] of [
    [diagonal, 1],
    // Sums of another precision may tip a near tie.
    [upperFactor(cols), 0.97],
  ] as const) {
    const made = [];
    for (const open of OPENERS) {
      const backend = await open();
      made.push(await sweep(backend, before, u, cols, grid(4, 32), TWO_FOUR));
      backend.dispose();
    }
    for (const one of made.slice(1)) {
      const same = (a: Uint8Array, b: Uint8Array) => a.filter((code, i) => code === b[i]).length;
      const [codes, masks] = [
        same(one.grid.codes, made[0].grid.codes),
        same(one.mask, made[0].mask),
      ];
      assert.ok(codes >= least * before.length, `${codes} codes of ${before.length}, seed ${seed}`);
      assert.ok(masks >= least * before.length, `${masks} of the mask, seed ${seed}`);
    }
  }
});

test("blocks do not tear what is chosen together", () => {
  const cut = (cols: number, groupSize: number, m: number) =>
    gridBlocks(cols, groupSize, m).map(({ start, width }) => `${start}+${width}`);
  assert.equal(cut(276, 276, 12), ["0+120", "120+120", "240+36"]);
  assert.equal(cut(300, 1000, 4), ["0+128", "128+128", "256+44"]);
});

test.run();
