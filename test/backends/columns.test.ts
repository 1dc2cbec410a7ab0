import { suite } from "uvu";
import * as assert from "uvu/assert";
import { blank, input, OPENERS, randomValues } from "./operands.js";

const test = suite("columns");

for (const backend of await Promise.all(OPENERS.map((open) => open()))) {
  test(`${backend.name}: takes stretches of columns, exactly`, async () => {
    for (const rows of [0, 1, 3, 8]) {
      for (const width of [1, 3, 4, 9]) {
        for (const [count, first, gap, behind] of [
          [1, 0, 0, 0],
          [1, 5, 0, 3],
          [3, 2, 0, 1],
          [3, 4, 7, 0],
        ]) {
          const stride = width + gap;
          const cols = first + (count - 1) * stride + width + behind;
          const x = randomValues(rows * cols);
          const expected: number[] = [];
          for (let row = 0; row < rows; row++) {
            for (let part = 0; part < count; part++) {
              const from = row * cols + first + part * stride;
              expected.push(...x.subarray(from, from + width));
            }
          }
          const out = blank(backend, rows * count * width, count * width);
          backend.ops.takeColumns(input(backend, x, cols), out.view, { first, width, stride });
          assert.equal([...(await out.read())], expected, `${rows} rows, ${count} of ${width}`);
        }
      }
    }
  });

  test(`${backend.name}: puts columns of any matrix into another order`, async () => {
    for (const [rows, cols] of [
      [0, 3],
      [1, 1],
      [3, 5],
      [7, 9],
    ]) {
      const x = randomValues(rows * cols);
      const order = Int32Array.from({ length: cols }, (_, j) => (2 * j + 1) % cols);
      const out = blank(backend, rows * cols, cols);
      const places = backend.upload(order, [cols]);
      await backend.ops.orderColumns(input(backend, x, cols), places, out.view);
      const expected = Array.from(
        { length: rows * cols },
        (_, i) => x[i - (i % cols) + order[i % cols]],
      );
      assert.equal([...(await out.read())], expected, `${rows} x ${cols}`);
    }
  });

  test(`${backend.name}: puts columns into another order`, async () => {
    const order = Int32Array.of(2, 0, 3, 1);
    const places = backend.upload(order, [4]);
    for (const data of [
      Float32Array.of(0, 1, 2, 3, 4, 5, 6, 7),
      Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7),
    ]) {
      const x = backend.upload(data, [2, 4]);
      const out = backend.zeros([2, 4], x.dtype);
      await backend.ops.orderColumns(x, places, out);
      assert.equal([...(await backend.read(out))], [2, 0, 3, 1, 6, 4, 7, 5]);
      assert.throws(
        () => backend.ops.orderColumns(x, backend.zeros([3], "i32"), out),
        /order has 3/,
      );
      assert.throws(() => backend.ops.orderColumns(x, places, x), /out is x/);
    }
  });

  test(`${backend.name}: refuses stretches that x does not have`, () => {
    const [x, out] = [backend.zeros([2, 10]), backend.zeros([2, 6])];
    const take = (first: number, width: number, stride: number) => () =>
      backend.ops.takeColumns(x, out, { first, width, stride });
    take(4, 6, 6)();
    take(0, 3, 7)();
    for (const bad of [
      take(5, 6, 6),
      take(0, 3, 8),
      take(-1, 6, 6),
      take(0, 4, 4),
      take(0, 3, 2),
    ]) {
      assert.throws(
        bad,
        /out \[2,6\] cannot be filled with stretches of \d columns.* of x \[2,10\]/,
      );
    }
    assert.throws(() =>
      backend.ops.takeColumns(backend.zeros([3, 10]), out, { first: 0, width: 6, stride: 6 }),
    );
  });
}

test.run();
