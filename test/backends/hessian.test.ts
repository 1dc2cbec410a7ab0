import { suite } from "uvu";
import * as assert from "uvu/assert";
import { assertWithin, EPSILON, input, OPENERS, output, randomValues, SIZES } from "./operands.js";

const test = suite("hessian");

for (const open of OPENERS) {
  test(`${open.name}: accumulateHessian adds the scaled second moment`, async () => {
    const shapes = SIZES.flatMap((tokens) => SIZES.map((n) => [tokens, n]));
    for (const [tokens, n] of [...shapes, [401, 397], [1, 2053]]) {
      if (n === 0) continue;
      const backend = await open();
      const [x, before] = [randomValues(tokens * n), randomValues(n * n)];
      const h = output(backend, before, n);
      backend.ops.accumulateHessian(input(backend, x, n), h.view, 0.75);
      const after = await h.read();
      // What stands below the diagonal is undefined and expected as found.
      const expected = Float64Array.from(after);
      const sizes = new Float64Array(n * n);
      for (let i = 0; i < n; i++) {
        for (let j = i; j < n; j++) {
          let [sum, size] = [0, 0];
          for (let t = 0; t < tokens; t++) {
            const term = x[t * n + i] * x[t * n + j];
            sum += term;
            size += Math.abs(term);
          }
          expected[i * n + j] = before[i * n + j] + 0.75 * sum;
          sizes[i * n + j] = size;
        }
      }
      const bound = (i: number) => 4 * EPSILON * (Math.sqrt(tokens) * sizes[i] + 1);
      assertWithin(after, expected, bound, `${backend.name} hessian ${tokens}x${n}`);
      backend.dispose();
    }
  });

  test(`${open.name}: mirrorUpper copies the upper triangle`, async () => {
    for (const n of [...SIZES, 67]) {
      const backend = await open();
      const before = randomValues(n * n);
      const a = output(backend, before, n);
      backend.ops.mirrorUpper(a.view);
      const expected = before.map((_, at) => {
        const [i, j] = [Math.floor(at / n), at % n];
        return before[Math.min(i, j) * n + Math.max(i, j)];
      });
      assert.equal(await a.read(), expected);
      backend.dispose();
    }
  });

  test(`${open.name}: accumulateColumnSquares sums in float64`, async () => {
    for (const tokens of [0, 1, 2, 33, 5000]) {
      for (const n of [1, 3, 4, 5, 7, 33]) {
        const backend = await open();
        const x = randomValues(tokens * n);
        const before = randomValues(n);
        const sums = output(backend, before, n);
        backend.ops.accumulateColumnSquares(input(backend, x, n), sums.view);
        const expected = Float64Array.from(before);
        x.forEach((value, i) => {
          expected[i % n] += value * value;
        });
        // One rounding, whatever the number of tokens.
        const bound = (i: number) => EPSILON * Math.abs(expected[i]);
        assertWithin(await sums.read(), expected, bound, `${backend.name} squares ${tokens}x${n}`);
        backend.dispose();
      }
    }
  });

  test(`${open.name}: quadraticForm is the trace of D H Dᵀ`, async () => {
    for (const [rows, n] of [
      ...SIZES.map((size, i) => [SIZES[9 - i], size]),
      [301, 97],
      [2, 401],
    ]) {
      const backend = await open();
      const [d, h] = [randomValues(rows * n), randomValues(n * n)];
      for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) h[i * n + j] = h[j * n + i];
      let [expected, size] = [0, 0];
      for (let r = 0; r < rows; r++) {
        for (let i = 0; i < n; i++) {
          for (let j = 0; j < n; j++) {
            const term = d[r * n + i] * h[i * n + j] * d[r * n + j];
            expected += term;
            size += Math.abs(term);
          }
        }
      }
      const form = await backend.ops.quadraticForm(input(backend, d, n), input(backend, h, n));
      assertWithin(
        [form],
        [expected],
        () => 4 * EPSILON * Math.sqrt(n) * size,
        `${backend.name} quadratic form ${rows}x${n}`,
      );
      backend.dispose();
    }
  });

  test(`${open.name}: sumOfSquares and countNonFinite see every element once`, async () => {
    for (const size of [...SIZES, 4099]) {
      const backend = await open();
      const x = randomValues(size);
      const expected = x.reduce((sum, value) => sum + value * value, 0);
      const sum = await backend.ops.sumOfSquares(input(backend, x, 1));
      assertWithin([sum], [expected], () => 1e-13 * expected, `${backend.name} squares of ${size}`);
      assert.is(await backend.ops.countNonFinite(input(backend, x, 1)), 0);
      for (const [i, value] of [Number.NaN, Infinity, -Infinity].entries()) {
        if (size > 0) x[(i * 7) % size] = value;
      }
      const broken = x.filter((value) => !Number.isFinite(value)).length;
      assert.is(await backend.ops.countNonFinite(input(backend, x, 1)), broken);
      backend.dispose();
    }
  });
}

test.run();
