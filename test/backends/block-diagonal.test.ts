import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  assertWithin,
  blank,
  EPSILON,
  input,
  OPENERS,
  randomValues,
  SIZES,
  seed,
} from "./operands.js";

const test = suite("block-diagonal");

/** Tokens, columns and the size of the blocks. */
const CASES: readonly (readonly [number, number, number])[] = [
  ...SIZES.map((tokens) => [tokens, 24, 8] as const),
  ...[1, 2, 3, 4, 5, 7, 12, 16, 20, 31, 32, 43, 64, 128].flatMap((size) =>
    [1, 6].map((tokens) => [tokens, 2 * size, size] as const),
  ),
  // Quarters of the rows that begin and end inside blocks, and rows beside the quarters.
  ...[1, 3, 4, 5, 43, 128].flatMap((size) =>
    [0, 2, 3, 5].flatMap((tokens) => [1, 5].map((count) => [tokens, count * size, size] as const)),
  ),
  [9, 172, 43],
  [1, 768, 128],
  [3, 2080, 260],
  [1, 1024, 32],
  [70, 256, 32],
];

for (const open of OPENERS) {
  for (const [tokens, cols, size] of CASES) {
    test(`${open.name}: x [${tokens}, ${cols}], blocks of ${size}`, async () => {
      const backend = await open();
      const [x, blocks] = [randomValues(tokens * cols), randomValues(cols * size)];
      const bias = randomValues(cols);
      const expected = new Float64Array(x.length);
      const magnitude = new Float64Array(x.length);
      for (let i = 0; i < x.length; i++) {
        const [start, row] = [i - ((i % cols) % size), i % cols];
        for (let k = 0; k < size; k++) {
          const product = blocks[row * size + k] * x[start + k];
          expected[i] += product;
          magnitude[i] += Math.abs(product);
        }
      }
      const bound = (i: number) => 4 * EPSILON * Math.sqrt(size) * magnitude[i];
      const operands = [input(backend, x, cols), input(backend, blocks, size)] as const;
      const plain = blank(backend, tokens * cols, cols);
      backend.ops.blockDiagonal(...operands, plain.view);
      assertWithin(await plain.read(), expected, bound, `seed ${seed}`);
      const biased = blank(backend, tokens * cols, cols);
      backend.ops.blockDiagonal(...operands, biased.view, { bias: input(backend, bias, 1) });
      const shifted = expected.map((value, i) => value + bias[i % cols]);
      const wider = (i: number) => bound(i) + EPSILON * Math.abs(shifted[i]);
      assertWithin(await biased.read(), shifted, wider, `bias, seed ${seed}`);
      backend.dispose();
    });
  }

  test(`${open.name}: refuses what does not fit`, async () => {
    const backend = await open();
    const [x, out] = [backend.zeros([2, 12]), backend.zeros([2, 12])];
    const blocks = (count: number, size: number) => backend.zeros([count, size, size]);
    const run =
      (matrix: ReturnType<typeof blocks>, to = out) =>
      () =>
        backend.ops.blockDiagonal(x, matrix, to);
    assert.throws(run(blocks(2, 4)), /blocks is \[2,4,4\], must be \[12, 4\]/);
    assert.throws(run(backend.zeros([12, 5])), /blocks of 5 do not divide a row of 12/);
    assert.throws(run(blocks(3, 4), backend.zeros([3, 12])), /out is \[3,12\]/);
    assert.throws(run(blocks(3, 4), x), /out is x; give another tensor/);
    const short = () =>
      backend.ops.blockDiagonal(x, blocks(3, 4), out, { bias: backend.zeros([11]) });
    assert.throws(short, /bias has 11 elements, must have 12/);
    backend.dispose();
  });
}

test.run();
