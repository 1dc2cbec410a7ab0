import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { PenjingError } from "../../src/errors.js";
import {
  assertWithin,
  EPSILON,
  input,
  OPENERS,
  output,
  outputBytes,
  random,
  randomValues,
  SIZES,
  seed,
} from "./operands.js";

const test = suite("mask");

/** The mask that drops the first `count` of a list sorted by score, then by position. */
function dropFirst(scores: ArrayLike<number>, count: number): number[] {
  const value = (i: number) => (Number.isNaN(scores[i]) ? Infinity : scores[i]);
  const order = Array.from(scores, (_, i) => i).sort((i, j) =>
    value(i) === value(j) ? i - j : value(i) < value(j) ? -1 : 1,
  );
  const mask = new Array(scores.length).fill(1);
  for (const i of order.slice(0, count)) mask[i] = 0;
  return mask;
}

/** Few distinct values, so that most comparisons are ties; zeros of both signs among them. */
function tiedScores(size: number): Float32Array {
  const values = [0, -0, 0.5, 1, 1e-40, 3.4e38, Infinity, Number.NaN];
  return Float32Array.from({ length: size }, () => values[Math.floor(random() * values.length)]);
}

/** The rows of a list of scores, each given to `mask`, joined again. */
function byRows(
  scores: Float32Array,
  cols: number,
  mask: (row: Float32Array) => number[],
): Uint8Array {
  const all: number[] = [];
  for (let at = 0; at < scores.length; at += cols)
    all.push(...mask(scores.subarray(at, at + cols)));
  return Uint8Array.from(all);
}

for (const open of OPENERS) {
  test(`${open.name}: scaledMagnitude with and without scales`, async () => {
    for (const rows of SIZES) {
      for (const cols of SIZES) {
        const backend = await open();
        const [w, columns, rowFactors] = [rows * cols, cols, rows].map(randomValues);
        for (const [withColumns, withRows] of [
          [false, false],
          [true, false],
          [false, true],
          [true, true],
        ]) {
          const out = output(backend, new Float32Array(w.length), cols);
          backend.ops.scaledMagnitude(
            cols === 0 ? backend.zeros([rows, 0]) : input(backend, w, cols),
            cols === 0 ? backend.zeros([rows, 0]) : out.view,
            withColumns ? input(backend, columns, cols) : undefined,
            withRows ? input(backend, rowFactors, rows) : undefined,
          );
          const expected = Float64Array.from(w, (value, at) => {
            const byColumn = Math.abs(value) * (withColumns ? columns[at % cols] : 1);
            return byColumn * (withRows ? rowFactors[Math.floor(at / cols)] : 1);
          });
          const bound = (i: number) => EPSILON * Math.abs(expected[i]);
          assertWithin(await out.read(), expected, bound, `${backend.name} ${rows}x${cols}`);
        }
        backend.dispose();
      }
    }
  });

  test(`${open.name}: selectNofM keeps n of every m, pruning ties from the lowest column`, async () => {
    for (let m = 1; m <= 16; m++) {
      for (let n = 0; n <= m; n++) {
        const backend = await open();
        for (const groups of [0, 1, 3, 5, 11]) {
          const cols = groups * m;
          for (const scores of [tiedScores(3 * cols), randomValues(3 * cols).map(Math.abs)]) {
            const mask = outputBytes(backend, scores.length, cols);
            backend.ops.selectNofM(input(backend, scores, cols), mask.view, n, m);
            const expected = byRows(scores, m, (group) => dropFirst(group, m - n));
            assert.equal(await mask.read(), expected, `${backend.name} ${n}:${m} seed ${seed}`);
          }
        }
        backend.dispose();
      }
    }
  });

  test(`${open.name}: selectPerRow drops exactly count of each row`, async () => {
    for (const cols of SIZES) {
      for (const count of new Set([0, 1, cols >> 1, cols - 1, cols])) {
        if (count < 0 || count > cols) continue;
        const backend = await open();
        for (const scores of [tiedScores(5 * cols), randomValues(5 * cols)]) {
          const mask = outputBytes(backend, scores.length, cols);
          backend.ops.selectPerRow(input(backend, scores, cols), mask.view, count);
          const expected = byRows(scores, cols, (row) => dropFirst(row, count));
          assert.equal(await mask.read(), expected, `${backend.name} ${count} of ${cols}`);
        }
        backend.dispose();
      }
    }
  });

  test(`${open.name}: selectPerMatrix drops exactly the smallest count`, async () => {
    const backend = await open();
    const score = fc.oneof(fc.float(), fc.constantFrom(0, -0, 1, 2, Number.NaN, Infinity));
    await fc.assert(
      fc.asyncProperty(
        fc.array(score, { minLength: 1, maxLength: 80 }),
        fc.nat(80),
        async (values, any) => {
          const scores = Float32Array.from(values);
          const count = any % (scores.length + 1);
          const given = input(backend, scores, 1);
          const mask = backend.zeros([scores.length, 1], "u8");
          backend.ops.selectPerMatrix(given, mask, count);
          const expected = Uint8Array.from(dropFirst(scores, count));
          assert.equal(await backend.read(mask), expected);
          mask.dispose();
        },
      ),
      { seed },
    );
    backend.dispose();
  });

  test(`${open.name}: large rows and matrices, most scores equal`, async () => {
    const backend = await open();
    const cols = 719;
    for (const scores of [tiedScores(31 * cols), randomValues(31 * cols)]) {
      const given = input(backend, scores, cols);
      for (const share of [0.1, 0.7]) {
        const mask = outputBytes(backend, scores.length, cols);
        const [ofRow, ofAll] = [cols, scores.length].map((size) => Math.floor(share * size));
        backend.ops.selectPerRow(given, mask.view, ofRow);
        const byRow = byRows(scores, cols, (row) => dropFirst(row, ofRow));
        assert.equal(await mask.read(), byRow, `${share} of each row, seed ${seed}`);
        backend.ops.selectPerMatrix(given, mask.view, ofAll);
        const all = Uint8Array.from(dropFirst(scores, ofAll));
        assert.equal(await mask.read(), all, `${share} of all, seed ${seed}`);
      }
    }
    backend.dispose();
  });

  test(`${open.name}: applyMask zeroes what is not kept, NaN included`, async () => {
    for (const size of [...SIZES, 15, 16, 17, 64, 1021]) {
      const backend = await open();
      const before = randomValues(size);
      if (size > 2) before[2] = Number.NaN;
      const mask = Uint8Array.from({ length: size }, (_, i) =>
        i === 2 || random() < 0.5 ? 0 : 1 + (i % 255),
      );
      const w = output(backend, before, 1);
      backend.ops.applyMask(w.view, backend.upload(mask, [size, 1]));
      const expected = before.map((value, i) => (mask[i] ? value : 0));
      assert.equal(await w.read(), expected);
      backend.dispose();
    }
  });

  test(`${open.name}: a pattern that does not fit is refused`, async () => {
    const backend = await open();
    const scores = backend.zeros([2, 6]);
    const mask = backend.zeros([2, 6], "u8");
    for (const [n, m] of [
      [2, 4],
      [3, 2],
      [1, 17],
    ]) {
      assert.throws(
        () => backend.ops.selectNofM(scores, mask, n, m),
        (error: unknown) => error instanceof PenjingError,
      );
    }
    backend.dispose();
  });
}

test.run();
