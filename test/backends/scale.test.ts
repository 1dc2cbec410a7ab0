import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  assertWithin,
  blank,
  EPSILON,
  input,
  OPENERS,
  output,
  randomValues,
  SIZES,
} from "./operands.js";

const test = suite("scale");

for (const backend of await Promise.all(OPENERS.map((open) => open()))) {
  const { ops, name } = backend;

  test(`${name}: reads a diagonal and adds to it, exactly`, async () => {
    for (const n of SIZES) {
      const [a, values] = [randomValues(n * n), randomValues(n)];
      const out = blank(backend, n, 1);
      ops.diagonal(input(backend, a, n), out.view);
      assert.equal(
        await out.read(),
        values.map((_, i) => a[i * n + i]),
      );
      const sum = output(backend, a, n);
      ops.addDiagonal(sum.view, input(backend, values, 1));
      const expected = a.map((value, i) => value + (i % (n + 1) === 0 ? values[i / (n + 1)] : 0));
      assert.equal(await sum.read(), expected);
    }
  });

  test(`${name}: multiplies by a number, exactly`, async () => {
    for (const count of [...SIZES, 1009]) {
      const x = randomValues(count);
      const scaled = output(backend, x, 1);
      ops.scale(scaled.view, 0.75);
      assert.equal(
        await scaled.read(),
        x.map((value) => value * 0.75),
      );
    }
  });

  test(`${name}: scales columns and subtracts, exactly`, async () => {
    for (const rows of SIZES) {
      for (const cols of SIZES) {
        const [a, b, scale] = [rows * cols, rows * cols, cols].map(randomValues);
        const scaled = output(backend, a, cols);
        ops.scaleColumns(scaled.view, input(backend, scale, 1));
        assert.equal(
          await scaled.read(),
          a.map((value, i) => value * scale[i % cols]),
        );
        const difference = a.map((value, i) => value - b[i]);
        const out = blank(backend, rows * cols, cols);
        ops.subtract(input(backend, a, cols), input(backend, b, cols), out.view);
        assert.equal(await out.read(), difference);
        const overB = output(backend, b, cols);
        ops.subtract(input(backend, a, cols), overB.view, overB.view);
        assert.equal(await overB.read(), difference);
      }
    }
  });

  test(`${name}: sums the squares of scaled rows`, async () => {
    for (const rows of SIZES) {
      // A matrix without columns says nothing of its rows.
      for (const cols of [...SIZES.filter((size) => size > 0), 1009]) {
        const [w, scale] = [rows * cols, cols].map(randomValues);
        const expected = new Float64Array(rows);
        w.forEach((value, i) => {
          expected[Math.floor(i / cols)] += (value * scale[i % cols]) ** 2;
        });
        const out = blank(backend, rows, 1);
        ops.rowSquares(input(backend, w, cols), out.view, input(backend, scale, 1));
        const bound = (r: number) => (cols + 2) * EPSILON * expected[r];
        assertWithin(await out.read(), expected, bound, `${name} [${rows}, ${cols}]`);
      }
    }
  });
}

test.run();
