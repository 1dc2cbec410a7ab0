import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ColumnSweepOptions } from "../../src/backends/operations/column-sweep.js";
import {
  assertWithin,
  EPSILON,
  input,
  OPENERS,
  output,
  outputBytes,
  randomValues,
  seed,
} from "./operands.js";

const test = suite("column-sweep");

/** An upper-triangular matrix like a Cholesky factor of an inverse Hessian. */
function upperFactor(n: number): Float32Array {
  const u = randomValues(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      if (j < i) u[i * n + j] = 0;
      else if (j === i) u[i * n + j] = 0.5 + Math.abs(u[i * n + j]);
      else u[i * n + j] /= 2 * Math.sqrt(n);
    }
  }
  return u;
}

interface Swept {
  readonly weights: Float64Array;
  readonly loss: number;
  /** The score that each weight had when its group or block was chosen. */
  readonly scores: Float64Array;
  /** A bound on the rounding errors that can have gathered in each weight. */
  readonly bounds: Float64Array;
}

/** The sweep as the paper states it, one column at a time over all rows, with the mask given. */
function sweep(
  w: Float32Array,
  u: Float32Array,
  mask: Uint8Array,
  cols: number,
  groupSize: number,
): Swept {
  const rows = w.length / cols;
  const weights = Float64Array.from(w);
  const scores = new Float64Array(w.length);
  const sizes = Float64Array.from(w, Math.abs);
  let loss = 0;
  for (let i = 0; i < cols; i++) {
    const pivot = u[i * cols + i];
    for (let r = 0; r < rows; r++) {
      if (i % groupSize === 0) {
        for (let j = i; j < Math.min(cols, i + groupSize); j++) {
          scores[r * cols + j] = (weights[r * cols + j] / u[j * cols + j]) ** 2;
        }
      }
      if (mask[r * cols + i]) continue;
      const error = weights[r * cols + i] / pivot;
      loss += error ** 2 / 2;
      for (let j = i; j < cols; j++) {
        const change = error * u[i * cols + j];
        weights[r * cols + j] -= change;
        // An error in `error` itself is carried along, hence the size rather than the value.
        sizes[r * cols + j] += Math.abs((sizes[r * cols + i] / pivot) * u[i * cols + j]);
      }
      weights[r * cols + i] = 0;
    }
  }
  return { weights, loss, scores, bounds: sizes.map((size) => 4 * EPSILON * size) };
}

/** Requires every removed score to be no larger than every kept one, up to rounding. */
function assertSmallest(scores: number[], kept: number[], what: string): void {
  const removed = scores.filter((_, i) => kept[i] === 0);
  const stayed = scores.filter((_, i) => kept[i] === 1);
  if (removed.length === 0 || stayed.length === 0) return;
  const [largest, smallest] = [Math.max(...removed), Math.min(...stayed)];
  assert.ok(largest <= smallest * 1.001 + 1e-9, `${what}: removed ${largest}, kept ${smallest}`);
}

const CASES: readonly (readonly [number, number, ColumnSweepOptions])[] = [
  [0, 8, { pattern: { n: 2, m: 4 }, blockSize: 8 }],
  [1, 4, { pattern: { n: 2, m: 4 }, blockSize: 4 }],
  [3, 8, { pattern: { n: 2, m: 4 }, blockSize: 128 }],
  [5, 36, { pattern: { n: 2, m: 4 }, blockSize: 8 }],
  [9, 132, { pattern: { n: 2, m: 4 }, blockSize: 128 }],
  [7, 60, { pattern: { n: 1, m: 3 }, blockSize: 12 }],
  [4, 40, { pattern: { n: 4, m: 8 }, blockSize: 16 }],
  [4, 64, { pattern: { n: 9, m: 16 }, blockSize: 32 }],
  [3, 35, { pattern: { n: 5, m: 7 }, blockSize: 14 }],
  [3, 5, { pattern: { n: 0, m: 1 }, blockSize: 2 }],
  [31, 260, { pattern: { n: 2, m: 4 }, blockSize: 128 }],
  [1, 1, { pattern: { ratio: 0.5 }, blockSize: 128 }],
  [5, 7, { pattern: { ratio: 0 }, blockSize: 3 }],
  [5, 31, { pattern: { ratio: 0.5 }, blockSize: 9 }],
  [8, 33, { pattern: { ratio: 0.7 }, blockSize: 16 }],
  [33, 131, { pattern: { ratio: 0.6 }, blockSize: 128 }],
  [1, 35, { pattern: { ratio: 0.2 }, blockSize: 32 }],
  [150, 300, { pattern: { n: 2, m: 4 }, blockSize: 128 }],
];

for (const open of OPENERS) {
  for (const [rows, cols, options] of CASES) {
    const { pattern, blockSize } = options;
    const what = `${open.name}: ${rows}x${cols} ${JSON.stringify(options)}`;
    test(what, async () => {
      const backend = await open();
      const [before, u] = [randomValues(rows * cols), upperFactor(cols)];
      const w = output(backend, before, cols);
      const kept = outputBytes(backend, before.length, cols);
      const factor = input(backend, u, cols);
      const loss = await backend.ops.columnSweep(w.view, factor, kept.view, options);
      const [after, mask] = [await w.read(), await kept.read()];

      const groupSize = "m" in pattern ? pattern.m : blockSize;
      const expected = sweep(before, u, mask, cols, groupSize);
      assertWithin(after, expected.weights, (i) => expected.bounds[i], `${what} seed ${seed}`);
      assert.ok(after.every((value, i) => mask[i] === 1 || Object.is(value, 0)));
      assertWithin([loss], [expected.loss], () => 1e-4 * expected.loss, `${what}: loss`);

      for (let start = 0; start < cols; start += groupSize) {
        const width = Math.min(groupSize, cols - start);
        const groups = Array.from({ length: rows }, (_, r) =>
          Array.from({ length: width }, (_, c) => r * cols + start + c),
        );
        for (const group of "m" in pattern ? groups : [groups.flat()]) {
          const chosen = group.map((i) => mask[i]);
          const removed =
            "m" in pattern ? pattern.m - pattern.n : Math.floor(group.length * pattern.ratio);
          assert.is(chosen.filter((bit) => bit === 0).length, removed);
          const scores = group.map((i) => expected.scores[i]);
          assertSmallest(scores, chosen, `${what} at column ${start}, seed ${seed}`);
        }
      }
      backend.dispose();
    });
  }

  test(`${open.name}: ties prune the lowest index first`, async () => {
    const backend = await open();
    const identity = Float32Array.from({ length: 64 }, (_, at) => Number(at % 9 === 0));
    const u = input(backend, identity, 8);
    const sweepOnes = async (pattern: ColumnSweepOptions["pattern"]) => {
      const w = output(backend, new Float32Array(16).fill(1), 8);
      const mask = outputBytes(backend, 16, 8);
      await backend.ops.columnSweep(w.view, u, mask.view, { pattern, blockSize: 4 });
      return [...(await mask.read())].join("");
    };
    assert.is(await sweepOnes({ n: 2, m: 4 }), "0011001100110011");
    assert.is(await sweepOnes({ n: 1, m: 2 }), "0101010101010101");
    // Three of each 2 x 4 block go, all from its first row.
    assert.is(await sweepOnes({ ratio: 0.375 }), "0001000111111111");
    backend.dispose();
  });
}

test.run();
