import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
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

const test = suite("softmax");

/** exp rounds, and an argument's own rounding counts as often as the argument is large. */
function relativeBound(argument: number): number {
  return EPSILON * (4 + 2 * Math.abs(argument));
}

/** What may become zero: WGSL lets a device take subnormal numbers for zero. */
function vanishing({ name }: Backend): number {
  return name === "webgpu" ? 2 ** -126 : 2 ** -149;
}

function softmaxRow(row: readonly number[], temperature: number): number[] {
  const largest = Math.max(...row);
  const terms = row.map((value) => Math.exp((value - largest) / temperature));
  const total = terms.reduce((sum, term) => sum + term, 0);
  return terms.map((term) => term / total);
}

function rowsOfArray(data: Float32Array, width: number): number[][] {
  return Array.from({ length: data.length / width }, (_, r) =>
    Array.from(data.subarray(r * width, (r + 1) * width)),
  );
}

for (const backend of await Promise.all(OPENERS.map((open) => open()))) {
  test(`${backend.name}: argmax takes the first of equals, and NaN before all`, async () => {
    for (const width of [...SIZES.slice(1), 63, 64, 65, 513, 50257]) {
      const rows = width > 1000 ? 2 : 7;
      const data = randomValues(rows * width);
      const least = data.map((x) => x - 2);
      const ties = data.map((x) => Math.round(2 * x));
      const broken = data.slice();
      for (let r = 0; r < rows; r += 2) broken[r * width + ((r * 31) % width)] = Number.NaN;
      broken[data.length - 1] = Number.POSITIVE_INFINITY;
      for (const values of [data, least, ties, broken]) {
        const out = blank(backend, 2 * rows, 2);
        backend.ops.argmax(input(backend, values, width), out.view);
        const expected = rowsOfArray(values, width).flatMap((row) => {
          const bad = row.findIndex(Number.isNaN);
          const best = bad >= 0 ? bad : row.indexOf(Math.max(...row));
          return [best, row[best]];
        });
        const actual = await out.read();
        expected.forEach((value, i) => {
          const isSame = value === actual[i] || Object.is(value, actual[i]);
          assert.ok(isSame, `${backend.name}, width ${width}: ${i} is ${actual[i]}, not ${value}`);
        });
      }
    }
  });

  test(`${backend.name}: softmax of any width, also in place`, async () => {
    for (const width of [...SIZES.slice(1), 257, 50257]) {
      const rows = width > 1000 ? 2 : 5;
      for (const [temperature, scale] of [
        [1, 10],
        [0.25, 20],
        [3, 0.1],
      ]) {
        const data = randomValues(rows * width).map((x) => x * scale);
        const expected = rowsOfArray(data, width).flatMap((row) => softmaxRow(row, temperature));
        const bound = (i: number) =>
          expected[i] * relativeBound((2 * scale) / temperature) + vanishing(backend);
        const what = `${backend.name}: width ${width}, temperature ${temperature}`;
        const out = blank(backend, data.length, width);
        backend.ops.softmax(input(backend, data, width), out.view, temperature);
        assertWithin(await out.read(), expected, bound, what);
        const same = output(backend, data, width);
        backend.ops.softmax(same.view, same.view, temperature);
        assertWithin(await same.read(), expected, bound, `${what}, in place`);
      }
    }
  });

  test(`${backend.name}: softmax at the ends of the range`, async () => {
    const rows = [
      [-1e30, 0, 1e30, 3e38, 0],
      [Number.NEGATIVE_INFINITY, 0, Number.NEGATIVE_INFINITY, 0, -120],
      [-3e38, -3e38, -3e38, -3e38, -3e38],
    ];
    const out = blank(backend, 15, 5);
    backend.ops.softmax(input(backend, Float32Array.from(rows.flat()), 5), out.view, 1);
    const expected = [
      [0, 0, 0, 1, 0],
      [0, 0.5, 0, 0.5, 0],
      [0.2, 0.2, 0.2, 0.2, 0.2],
    ];
    assertWithin(await out.read(), expected.flat(), (i) => 1e-7 * expected.flat()[i], backend.name);
  });

  test(`${backend.name}: softmax keeps NaN in its row`, async () => {
    const data = Float32Array.from([1, 2, Number.NaN, 3, 4, 5, 6, 7, 8, 9]);
    const out = blank(backend, 10, 5);
    backend.ops.softmax(input(backend, data, 5), out.view, 1);
    const result = await out.read();
    assert.ok(result.subarray(0, 5).every(Number.isNaN));
    assert.ok(Math.abs(result.subarray(5).reduce((a, b) => a + b) - 1) < 1e-6);
  });

  test(`${backend.name}: exponentials below the smallest normal number fade to 0`, async () => {
    const arguments_ = Float32Array.from([0, -80, -87.3, -87.4, -90, -100, -103.9, -104.1, -200]);
    const out = blank(backend, arguments_.length, arguments_.length);
    backend.ops.softmax(input(backend, arguments_, arguments_.length), out.view, 1);
    const expected = Float32Array.from(arguments_, (x) => Math.exp(x));
    assertWithin(
      await out.read(),
      expected,
      (i) => 2e-5 * expected[i] + vanishing(backend),
      backend.name,
    );
  });

  test(`${backend.name}: exponentials are right to 3e-7`, async () => {
    const width = 20001;
    const x = Float32Array.from({ length: width }, (_, i) => (-i * 87) / width);
    const terms = Array.from(x, (value) => Math.exp(value));
    const total = terms.reduce((sum, term) => sum + term, 0);
    const out = blank(backend, width, width);
    backend.ops.softmax(input(backend, x, width), out.view, 1);
    const expected = terms.map((term) => term / total);
    // Only results that are themselves normal numbers have all their bits.
    const bound = (i: number) => 3e-7 * expected[i] + vanishing(backend);
    assertWithin(await out.read(), expected, bound, backend.name);
  });

  test(`${backend.name}: crossEntropy of any width and number of rows`, async () => {
    for (const width of [...SIZES.slice(1), 32000]) {
      for (const rows of width > 1000 ? [2] : [0, 1, 5]) {
        const data = randomValues(rows * width).map((x) => x * 15);
        const targets = Int32Array.from({ length: rows }, (_, t) => (t * 7 + width - 1) % width);
        const expected = rowsOfArray(data, width).map((row, t) => {
          const largest = Math.max(...row);
          const total = row.reduce((sum, value) => sum + Math.exp(value - largest), 0);
          return Math.log(total) + largest - row[targets[t]];
        });
        const out = blank(backend, rows, 1);
        backend.ops.crossEntropy(input(backend, data, width), input(backend, targets, 1), out.view);
        const what = `${backend.name}: [${rows}, ${width}]`;
        assertWithin(await out.read(), expected, (i) => 1e-6 + 2 * EPSILON * expected[i], what);
      }
    }
  });

  test(`${backend.name}: klDivergence of any width and number of rows`, async () => {
    const isGpu = backend.name === "webgpu";
    for (const width of [...SIZES.slice(1), 32000]) {
      for (const rows of width > 1000 ? [2] : [0, 1, 5]) {
        const reference = randomValues(rows * width).map((x) => x * 15);
        const others = randomValues(rows * width);
        for (const distance of [0, 0.01, 20]) {
          const logits = reference.map((x, i) => x + distance * others[i]);
          const expected = rowsOfArray(reference, width).map((row, t) => {
            const p = softmaxRow(row, 1);
            const q = softmaxRow([...logits.subarray(t * width, (t + 1) * width)], 1);
            return p.reduce((sum, one, i) => sum + (one > 0 ? one * Math.log(one / q[i]) : 0), 0);
          });
          const out = blank(backend, rows, 1);
          backend.ops.klDivergence(
            input(backend, reference, width),
            input(backend, logits, width),
            out.view,
          );
          const what = `${backend.name}: [${rows}, ${width}], ${distance} apart`;
          const bound = (i: number) => (isGpu ? 4e-6 : 1e-6) + 4 * EPSILON * expected[i];
          assertWithin(await out.read(), expected, bound, what);
        }
      }
    }
  });

  test(`${backend.name}: klDivergence takes places without weight for nothing`, async () => {
    const reference = Float32Array.from([0, -1e30, 1, 0, 2, 3]);
    const logits = Float32Array.from([0, 5, 1, -1e30, 2, 3]);
    const out = blank(backend, 2, 1);
    backend.ops.klDivergence(input(backend, reference, 3), input(backend, logits, 3), out.view);
    const [found, other] = await out.read();
    const [p, q] = [softmaxRow([0, 1], 1), softmaxRow([0, 5, 1], 1)];
    const expected = p[0] * Math.log(p[0] / q[0]) + p[1] * Math.log(p[1] / q[2]);
    assert.ok(Math.abs(found - expected) < 1e-5, `${found} ${expected}`);
    // What the reference knows and the other rules out is as far away as can be.
    assert.ok(other > 1e28, `${other}`);
  });

  test(`${backend.name}: crossEntropy refuses a target outside the row`, () => {
    const logits = backend.zeros([2, 5]);
    for (const bad of [-1, 5]) {
      const targets = backend.upload(Int32Array.from([0, bad]), [2]);
      assert.throws(
        () => backend.ops.crossEntropy(logits, targets, backend.zeros([2])),
        new RegExp(`token 1 has the id ${bad}`),
      );
    }
  });
}

test.run();
