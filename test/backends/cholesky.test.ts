import { suite } from "uvu";
import * as assert from "uvu/assert";
import { assertWithin, EPSILON, input, OPENERS, output, randomValues, SIZES } from "./operands.js";

const test = suite("cholesky");

/** Around one, two and more of the blocks that a fast factorisation works in. */
const ORDERS = [...SIZES, 2, 6, 95, 96, 97, 101, 193, 457];

/** A symmetric positive definite matrix: the second moment of n + 8 random rows, plus 1. */
function positiveDefinite(n: number): Float32Array {
  const x = randomValues((n + 8) * n);
  const sums = new Float64Array(n * n);
  for (let t = 0; t < n + 8; t++) {
    for (let i = 0; i < n; i++) {
      for (let j = 0; j <= i; j++) sums[i * n + j] += x[t * n + i] * x[t * n + j];
    }
  }
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < i; j++) sums[j * n + i] = sums[i * n + j];
    sums[i * n + i] += 1;
  }
  return Float32Array.from(sums);
}

/** A well-conditioned lower-triangular matrix. */
function lowerTriangular(n: number): Float32Array {
  const l = randomValues(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      if (j > i) l[i * n + j] = 0;
      else if (j === i) l[i * n + j] = 1 + Math.abs(l[i * n + j]);
      else l[i * n + j] /= Math.sqrt(n);
    }
  }
  return l;
}

function above(matrix: Float32Array, n: number): Float32Array {
  return matrix.filter((_, at) => at % n > Math.floor(at / n));
}

for (const open of OPENERS) {
  test(`${open.name}: the factor times its transpose is the matrix`, async () => {
    for (const n of ORDERS) {
      const backend = await open();
      const a = positiveDefinite(n);
      // Only the lower triangle may be read.
      const given = a.map((value, at) => (at % n > Math.floor(at / n) ? Number.NaN : value));
      const out = output(backend, given, n);
      assert.is(await backend.ops.cholesky(out.view), -1);
      const l = await out.read();
      assert.ok(
        above(l, n).every((value) => value === 0),
        `${backend.name} ${n}: zeros above`,
      );
      const [sums, sizes] = [new Float64Array(n * n), new Float64Array(n * n)];
      for (let i = 0; i < n; i++) {
        for (let j = 0; j <= i; j++) {
          for (let p = 0; p <= j; p++) {
            const term = l[i * n + p] * l[j * n + p];
            sums[i * n + j] += term;
            sizes[i * n + j] += Math.abs(term);
          }
          sums[j * n + i] = sums[i * n + j];
          sizes[j * n + i] = sizes[i * n + j];
        }
      }
      const bound = (i: number) => 8 * EPSILON * Math.sqrt(n) * sizes[i];
      assertWithin(sums, a, bound, `${backend.name} ${n}`);
      backend.dispose();
    }
  });

  test(`${open.name}: the first pivot that is not positive is named`, async () => {
    for (const [n, pivot] of [
      [1, 0],
      [5, 3],
      [97, 96],
      [200, 0],
      [200, 131],
      [200, 199],
    ]) {
      for (const value of [-1, Number.NaN]) {
        const backend = await open();
        const a = positiveDefinite(n);
        a[pivot * n + pivot] = value;
        const out = output(backend, a, n);
        assert.is(await backend.ops.cholesky(out.view), pivot, `${backend.name} ${n}`);
        await out.read();
        backend.dispose();
      }
    }
  });

  test(`${open.name}: a triangular matrix times its inverse is the identity`, async () => {
    for (const n of ORDERS) {
      const backend = await open();
      const l = lowerTriangular(n);
      const out = output(backend, new Float32Array(n * n).fill(Number.NaN), n);
      await backend.ops.triangularInverse(input(backend, l, n), out.view);
      const inverse = await out.read();
      const inPlace = output(backend, l, n);
      await backend.ops.triangularInverse(inPlace.view, inPlace.view);
      assert.equal(await inPlace.read(), inverse, `${backend.name} ${n}: in place`);
      assert.ok(
        above(inverse, n).every((value) => value === 0),
        `${backend.name} ${n}: zeros`,
      );
      const [sums, sizes] = [new Float64Array(n * n), new Float64Array(n * n)];
      for (let i = 0; i < n; i++) {
        for (let p = 0; p <= i; p++) {
          for (let j = 0; j <= p; j++) {
            const term = l[i * n + p] * inverse[p * n + j];
            sums[i * n + j] += term;
            sizes[i * n + j] += Math.abs(term);
          }
        }
      }
      const identity = sums.map((_, at) => Number(at % (n + 1) === 0));
      const bound = (i: number) => 8 * EPSILON * Math.sqrt(n) * sizes[i];
      assertWithin(sums, identity, bound, `${backend.name} ${n}`);
      backend.dispose();
    }
  });

  if (open.name.startsWith("openWasm") || open.name === "openThreads") {
    test(`${open.name}: the inverse of many columns, which are shared out`, async () => {
      const n = 1100;
      const backend = await open();
      const l = backend.upload(lowerTriangular(n), [n, n]);
      const [inverse, product] = [backend.zeros([n, n]), backend.zeros([n, n])];
      await backend.ops.triangularInverse(l, inverse);
      backend.ops.gemm(l, inverse, product);
      const values = (await backend.read(product)) as Float32Array;
      await backend.ops.triangularInverse(l, l);
      assert.equal(await backend.read(l), await backend.read(inverse));
      const identity = values.map((_, at) => Number(at % (n + 1) === 0));
      assertWithin(values, identity, () => 1e-3, backend.name);
      backend.dispose();
    });
  }

  test(`${open.name}: reverse turns a matrix by half a turn`, async () => {
    for (const n of ORDERS.slice(0, 15)) {
      const backend = await open();
      const before = randomValues(n * n);
      const a = output(backend, before, n);
      backend.ops.reverse(a.view);
      assert.equal(
        await a.read(),
        before.map((_, at) => {
          const [i, j] = [Math.floor(at / n), at % n];
          return before[(n - 1 - i) * n + (n - 1 - j)];
        }),
      );
      backend.dispose();
    }
  });
}

test.run();
