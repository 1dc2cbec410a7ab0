// Pairs of a code book: the sweep and the refinement by hand, and what is fitted to a matrix.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { openReference } from "../../src/backends/reference.js";
import { fitCodebook, kMeansOfPairs } from "../../src/least-squares/fit-codebook.js";
import { fitPairs } from "../../src/pairs/fit.js";
import { fromPairs, type PairOptions } from "../../src/pairs/pairs.js";
import { refinePairs } from "../../src/pairs/refine.js";
import { pairSweep } from "../../src/pairs/sweep.js";
import { Random } from "../../src/random.js";
import { hessianOf, quadratic, upperFactor } from "../backends/grid-operands.js";
import { assertWithin, OPENERS, randomValues } from "../backends/operands.js";

const test = suite("quantizers/pairs");

const random = new Random(3);
const BOOK = Float32Array.from({ length: 32 }, () => Math.round(256 * (random.next() - 0.5)) / 64);

/** Rows, columns, and columns that share a scale: within blocks of the sweep, and over several. */
const CASES = [
  [3, 8, 4],
  [4, 300, 32],
  [5, 300, 20],
  [2, 300, 300],
] as const;

function openPairs(backend: Backend, [rows, cols, size]: readonly [number, number, number]) {
  const grid = {
    codes: backend.zeros([rows, cols / 2], "u8"),
    scales: backend.zeros([rows, Math.ceil(cols / size)]),
    codebook: backend.upload(BOOK, [16, 2]),
  };
  const options: PairOptions = { groupSize: size, scaleType: "f16", search: true };
  const read = async () => ({
    codes: (await backend.read(grid.codes)) as Uint8Array,
    scales: (await backend.read(grid.scales)) as Float32Array,
  });
  return { grid, options, read };
}

/** By code of the test's own. */
function valuesOf(
  { codes, scales }: { readonly codes: Uint8Array; readonly scales: Float32Array },
  [, cols, size]: readonly [number, number, number],
): Float64Array {
  const groups = Math.ceil(cols / size);
  return Float64Array.from({ length: 2 * codes.length }, (_, at) => {
    const [row, col] = [Math.floor(at / cols), at % cols];
    const scale = scales[row * groups + Math.floor(col / size)];
    return scale * BOOK[2 * codes[Math.floor(at / 2)] + (at % 2)];
  });
}

/** |(x, y) T⁻¹|² with T = [p, q; 0, r]. */
const costOf = (x: number, y: number, [p, q, r]: readonly number[]) =>
  (x / p) ** 2 + ((y - (x / p) * q) / r) ** 2;

/** The least cost of a pair with a scale, over all entries. */
const leastOf = (x: number, y: number, scale: number, block: readonly number[]) =>
  Math.min(
    ...Array.from({ length: 16 }, (_, u) =>
      costOf(x - scale * BOOK[2 * u], y - scale * BOOK[2 * u + 1], block),
    ),
  );

for (const open of OPENERS) {
  for (const shape of CASES) {
    const [rows, cols, size] = shape;
    test(`${open.name}: the sweep over ${rows}x${cols} by ${size}, step by step`, async () => {
      const backend = await open();
      const [before, u] = [randomValues(rows * cols), upperFactor(cols)];
      const { grid, options, read } = openPairs(backend, shape);
      const w = backend.upload(before, [rows, cols]);
      const factor = backend.upload(u, [cols, cols]);
      const loss = await pairSweep(backend, w, factor, grid, options);
      const made = await read();
      const values = valuesOf(made, shape);
      const block = (j: number) =>
        [0, 1].flatMap((i) => [...u.subarray((j + i) * cols + j + i, (j + i) * cols + j + 2)]);
      let expected = 0;
      const x = Float64Array.from(before);
      for (let row = 0; row < rows; row++) {
        for (let j = 0; j < cols; j += 2) {
          const at = row * cols + j;
          const scale = made.scales[row * Math.ceil(cols / size) + Math.floor(j / size)];
          if (j % size === 0) {
            const end = Math.min(cols, j + size);
            const costs = (one: number) => {
              let sum = 0;
              for (let k = j; k < end; k += 2) {
                sum += leastOf(x[row * cols + k], x[row * cols + k + 1], one, block(k));
              }
              return sum;
            };
            let squares = 0;
            for (let k = j; k < end; k++) squares += x[row * cols + k] ** 2 / (end - j);
            for (let factor = 0.5; factor <= 1.3; factor += 0.1) {
              for (const sign of [1, -1]) {
                const other = sign * factor * Math.sqrt(squares);
                // Candidates are rounded.
                assert.ok(costs(scale) <= 1.01 * costs(other), `${at}: ${other} beats ${scale}`);
              }
            }
          }
          const errors = [0, 1].map((i) => x[at + i] - values[at + i]);
          const least = leastOf(x[at], x[at + 1], scale, block(j));
          assert.ok(costOf(errors[0], errors[1], block(j)) <= least + 1e-4, `the code at ${at}`);
          const [p, q, r] = block(j);
          const first = errors[0] / p;
          const second = (errors[1] - first * q) / r;
          expected += (first ** 2 + second ** 2) / 2;
          for (let k = j + 2; k < cols; k++) {
            x[row * cols + k] -= first * u[j * cols + k] + second * u[(j + 1) * cols + k];
          }
        }
      }
      assertWithin([loss], [expected], () => 1e-4 * expected, "loss");
      const out = backend.zeros([rows, cols]);
      await fromPairs(backend, grid, out, options);
      const held = (await backend.read(out)) as Float32Array;
      assertWithin(held, values, (i) => 1e-6 * Math.abs(values[i]), "values");
      backend.dispose();
    });

    test(`${open.name}: refining ${rows}x${cols} by ${size} falls by what it says`, async () => {
      const backend = await open();
      const [w, h] = [randomValues(rows * cols), hessianOf(cols)];
      const { grid, options, read } = openPairs(backend, shape);
      const ones = backend.upload(new Float32Array(cols).fill(1), [cols]);
      await fitPairs(backend, backend.upload(w, [rows, cols]), ones, grid, options);
      const hessian = backend.upload(h, [cols, cols]);
      const errors = async () =>
        Float32Array.from(valuesOf(await read(), shape), (value, i) => w[i] - value);
      const start = quadratic(await errors(), h, cols);
      let [f, fall] = [start, 0];
      for (let pass = 0; pass < 20 && (pass === 0 || fall > 1e-9 * f); pass++) {
        const d = backend.upload(await errors(), [rows, cols]);
        const gradient = backend.zeros([rows, cols]);
        backend.ops.gemm(d, hessian, gradient);
        fall = await refinePairs(backend, gradient, hessian, grid, options);
        const after = quadratic(await errors(), h, cols);
        assertWithin([f - after], [fall], () => 1e-4 * f + 1e-6, `pass ${pass}`);
        assert.ok(after <= f * (1 + 1e-6), `f rose from ${f} to ${after}`);
        f = after;
      }
      assert.ok(f < 0.95 * start, `f fell from ${start} to ${f} only`);
      // No pair alone could be a better one then.
      const d = await errors();
      const made = await read();
      const groups = Math.ceil(cols / size);
      made.codes.forEach((code, pair) => {
        const [row, j] = [Math.floor((2 * pair) / cols), (2 * pair) % cols];
        const scale = made.scales[row * groups + Math.floor(j / size)];
        const slope = [0, 1].map((i) => {
          let sum = 0;
          for (let k = 0; k < cols; k++) sum += d[row * cols + k] * h[(j + i) * cols + k];
          return sum;
        });
        for (let other = 0; other < 16; other++) {
          const [a, b] = [0, 1].map((i) => scale * (BOOK[2 * other + i] - BOOK[2 * code + i]));
          const square =
            a * a * h[j * cols + j] +
            2 * a * b * h[j * cols + j + 1] +
            b * b * h[(j + 1) * cols + j + 1];
          const gained = 2 * (a * slope[0] + b * slope[1]) - square;
          assert.ok(gained < 1e-3 * f, `the code of pair ${pair} could be ${other}: ${gained}`);
        }
      });
      backend.dispose();
    });
  }
}

test("where columns have nothing to do with each other, the sweep fits", async () => {
  const backend = await openReference();
  const shape = [5, 70, 32] as const;
  const [rows, cols] = shape;
  const w = randomValues(rows * cols);
  const diagonal = randomValues(cols).map((value) => 0.5 + Math.abs(value));
  const u = new Float32Array(cols * cols);
  for (let j = 0; j < cols; j++) u[j * (cols + 1)] = diagonal[j];
  const omega = backend.upload(
    diagonal.map((value) => 1 / value ** 2),
    [cols],
  );
  const [one, other] = [0, 1].map(() => openPairs(backend, shape));
  await fitPairs(backend, backend.upload(w, [rows, cols]), omega, one.grid, one.options);
  const factor = backend.upload(u, [cols, cols]);
  await pairSweep(backend, backend.upload(w, [rows, cols]), factor, other.grid, other.options);
  assert.equal(await other.read(), await one.read());
  backend.dispose();
});

test("k-means in two dimensions, by hand", async () => {
  const points = (at: number[], weights = at.map(() => 1)) => ({
    at: Float64Array.from(at),
    weights: Float64Array.from(weights),
  });
  const means = async (at: number[], start: number[], weights?: number[]) => [
    ...(await kMeansOfPairs(points(at, weights), Float64Array.from(start), undefined)),
  ];
  assert.equal(await means([0, 0, 2, 4, 10, 10], [0, 0, 9, 9]), [1, 2, 10, 10]);
  assert.equal(await means([0, 0, 2, 4, 10, 10], [0, 0, 9, 9], [3, 1, 1, 1, 1, 1]), [
    ...[0.5, 2, 10, 10],
  ]);
  // (0, 0) lies halfway, and belongs to the first one.
  assert.equal(await means([-2, 0, 0, 0, 2, 0], [-2, 0, 2, 0]), [-1, 0, 2, 0]);
  // Nothing is near the third one.
  assert.equal(await means([1, 1], [0, 0, 50, 50]), [1, 1, 50, 50]);
});

test("a code book loses less than every level beside every other one", async () => {
  const cols = 64;
  const draw = new Random(8);
  // Pairs that lie around three points, which no grid of levels has.
  const centres = [-1, -1, 0.2, 1, 1, -0.3];
  const w = Float32Array.from({ length: 200 * cols }, () => 0);
  for (let i = 0; i < w.length; i += 2) {
    const own = Math.floor(3 * draw.next());
    for (const place of [0, 1]) w[i + place] = centres[2 * own + place] + 0.02 * draw.next();
  }
  const omega = new Float32Array(cols).fill(1);
  const backend = await openReference();
  const fitted = await fitCodebook(w, omega, 16, cols, undefined);
  assert.is(fitted.length, 32);
  const errorWith = async (book: Float32Array) => {
    const { grid, options } = openPairs(backend, [200, cols, cols]);
    backend.write(grid.codebook, book);
    const [weight, out] = [backend.upload(w, [200, cols]), backend.zeros([200, cols])];
    await fitPairs(backend, weight, backend.upload(omega, [cols]), grid, options);
    await fromPairs(backend, grid, out, options);
    const held = (await backend.read(out)) as Float32Array;
    return held.reduce((sum, value, i) => sum + (value - w[i]) ** 2, 0);
  };
  const levels = [-1.3, -0.4, 0.4, 1.3];
  const squares = Float32Array.from({ length: 32 }, (_, i) => {
    return levels[i % 2 ? (i >> 1) % 4 : i >> 3];
  });
  const [own, square] = [await errorWith(fitted), await errorWith(squares)];
  assert.ok(own < 0.05 * square, `${own} against ${square}`);
  // A matrix of zeros has one, too.
  const none = await fitCodebook(new Float32Array(2 * cols), omega, 16, 32, undefined);
  assert.ok(none.some((value) => value !== 0));
  backend.dispose();
});

test.run();
