import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { denseLeaf } from "../../src/forms/leaf.js";
import type { Tensor } from "../../src/tensor.js";
import { assertProduct, FORMATS, formatCase, leafOf } from "./formats.js";
import { assertWithin, blank, input, OPENERS, random, randomValues } from "./operands.js";

const test = suite("dense");

type Format = (typeof FORMATS)[number];

async function checkProduct(
  backend: Backend,
  format: Format,
  [tokens, rows, cols]: readonly number[],
  size = 1,
): Promise<void> {
  const made = formatCase(format, rows, cols);
  const x = randomValues(tokens * cols).map((value) => value * size);
  const bias = tokens % 2 ? randomValues(rows) : undefined;
  const matrix = await backend.ops.prepare(leafOf(backend, made, [rows, cols]));
  const out = blank(backend, tokens * rows, rows);
  const withBias = bias && { bias: input(backend, bias, 1) };
  backend.ops.multiply(input(backend, x, cols), matrix, out.view, withBias);
  matrix.dispose();
  const product = { x, w: made.values, bias };
  assertProduct(backend, await out.read(), product, [tokens, rows, cols], format);
}

for (const backend of await Promise.all(OPENERS.map((open) => open()))) {
  for (const format of FORMATS) {
    test(`${backend.name}: multiplies by prepared ${format} weights`, async () => {
      for (const tokens of [0, 1, 2, 3, 5, 12, 13, 20]) {
        for (const rows of [1, 7, 8, 17]) {
          for (const cols of [1, 3, 8, 21, 40]) {
            await checkProduct(backend, format, [tokens, rows, cols]);
          }
        }
      }
      await checkProduct(backend, format, [1, 203, 517]);
      await checkProduct(backend, format, [33, 203, 401]);
      await checkProduct(backend, format, [1, 9, 24], 1e20);
      await checkProduct(backend, format, [1, 9, 24], 1e-20);
    });

    test(`${backend.name}: looks up rows of prepared ${format} weights`, async () => {
      const [rows, cols] = [9, 13];
      const made = formatCase(format, rows, cols);
      const { values } = made;
      const matrix = await backend.ops.prepare(leafOf(backend, made, [rows, cols]));
      const ids = Int32Array.from({ length: 12 }, () => Math.floor(random() * rows));
      const out = blank(backend, ids.length * cols, cols);
      backend.ops.embed(matrix, input(backend, ids, 1), out.view);
      const expected = Array.from({ length: ids.length * cols }, (_, i) => {
        return Math.fround(values[ids[Math.floor(i / cols)] * cols + (i % cols)]);
      });
      // A GPU may take an f16 that is smaller than 2^-14 for 0.
      const bound = (i: number) =>
        backend.name === "webgpu" && Math.abs(expected[i]) < 2 ** -14 ? 2 ** -14 : 0;
      assertWithin(await out.read(), expected, bound, `${backend.name} ${format}`);
      matrix.dispose();
    });
  }

  test(`${backend.name}: a prepared matrix outlives what it was made of, and says its size`, async () => {
    const weight = backend.upload(Uint8Array.of(129, 130, 127, 126), [2, 2]);
    const scales = backend.upload(Float32Array.of(0.5, 4), [2]);
    const numbers = { kind: "grid", bits: 8, symmetric: true } as const;
    const matrix = await backend.ops.prepare({
      ...denseLeaf(weight, [2, 2]),
      numbers,
      parts: new Map([
        ["values", weight],
        ["scales", scales],
      ]),
    });
    weight.dispose();
    scales.dispose();
    const out = blank(backend, 2, 2);
    backend.ops.multiply(backend.upload(Float32Array.of(1, 3), [1, 2]), matrix, out.view);
    assert.equal(await out.read(), Float32Array.of(3.5, -28));
    assert.equal([matrix.rows, matrix.cols], [2, 2]);
    assert.ok(matrix.bytes > 0);
    matrix.dispose();
    matrix.dispose();
  });

  test(`${backend.name}: a grid needs scales, and no others take any`, () => {
    const bytes = backend.zeros([2, 2], "u8");
    const numbers = { kind: "grid", bits: 8, symmetric: true } as const;
    const [floats, scales, few] = [[2, 2], [2], [1]].map((shape) => backend.zeros(shape));
    const grid = (parts: [string, Tensor][]) => () =>
      backend.ops.prepare({ ...denseLeaf(bytes, [2, 2]), numbers, parts: new Map(parts) });
    assert.throws(grid([["values", bytes]]), /int8 needs the part "scales"/);
    const plain = denseLeaf(floats, [2, 2]);
    const parts = new Map([...plain.parts, ["scales", scales]]);
    assert.throws(() => backend.ops.prepare({ ...plain, parts }), /f32 has no part "scales"/);
    assert.throws(
      grid([
        ["values", bytes],
        ["scales", few],
      ]),
      /1 elements/,
    );
    assert.throws(
      grid([
        ["values", floats],
        ["scales", scales],
      ]),
      /values is f32, must be u8/,
    );
  });
}

test.run();
