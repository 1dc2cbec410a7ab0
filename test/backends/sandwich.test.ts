import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import type { Form } from "../../src/form.js";
import { blocksLeaf, twoFourLeaf } from "../../src/forms/leaf.js";
import type { Tensor } from "../../src/tensor.js";
import { FORMATS, formatCase, leafOf } from "./formats.js";
import {
  assertWithin,
  blank,
  EPSILON,
  input,
  OPENERS,
  random,
  randomValues,
  SIZES,
} from "./operands.js";

const test = suite("sandwich");

/** Rows and columns of the core, and the sizes of the blocks on its left and on its right. */
const SHAPES: readonly (readonly [number, number, number, number])[] = [
  [1, 4, 1, 1],
  [3, 4, 3, 4],
  [5, 12, 1, 3],
  [9, 20, 3, 5],
  [8, 8, 8, 4],
  [24, 40, 4, 8],
  [43, 172, 43, 43],
  [96, 64, 32, 16],
  [128, 256, 128, 128],
];

/** A packed matrix with two random columns kept of every 4, and its dense values. */
function core(backend: Backend, rows: number, cols: number) {
  const dense = new Float32Array(rows * cols);
  const values = new Float32Array((rows * cols) / 2);
  const width = Math.ceil(cols / 8);
  const indices = new Uint8Array(rows * width);
  for (let group = 0; group < dense.length / 4; group++) {
    const first = Math.floor(random() * 3);
    const second = first + 1 + Math.floor(random() * (3 - first));
    const [row, at] = [Math.floor((group * 4) / cols), group % (cols / 4)];
    indices[row * width + (at >> 1)] |= (first | (second << 2)) << (4 * (at & 1));
    for (const [slot, col] of [first, second].entries()) {
      const value = 2 * random() - 1;
      values[2 * group + slot] = value;
      dense[4 * group + col] = value;
    }
  }
  const operands = [input(backend, values, cols / 2), input(backend, indices, width)] as const;
  return { dense, leaf: twoFourLeaf(...operands, [rows, cols]) };
}

/** A S B. */
function product(left: Tensor, core: Form, right: Tensor): Form {
  return { kind: "product", factors: [blocksLeaf(left), core, blocksLeaf(right)] };
}

/** blocks times x in f64, and the same over magnitudes. */
function turn(blocks: Float32Array, size: number, [x, magnitudes]: readonly Float64Array[]) {
  const [out, magnitude] = [new Float64Array(x.length), new Float64Array(x.length)];
  for (let row = 0; row < x.length; row++) {
    const start = row - (row % size);
    for (let k = 0; k < size; k++) {
      const factor = blocks[row * size + k];
      out[row] += factor * x[start + k];
      magnitude[row] += Math.abs(factor) * magnitudes[start + k];
    }
  }
  return [out, magnitude] as const;
}

function multiply(w: Float32Array, rows: number, [x, magnitudes]: readonly Float64Array[]) {
  const [out, magnitude] = [new Float64Array(rows), new Float64Array(rows)];
  for (let row = 0; row < rows; row++) {
    for (let c = 0; c < x.length; c++) {
      const factor = w[row * x.length + c];
      out[row] += factor * x[c];
      magnitude[row] += Math.abs(factor) * magnitudes[c];
    }
  }
  return [out, magnitude] as const;
}

async function check(backend: Backend, tokens: number, shape: (typeof SHAPES)[number]) {
  const [rows, cols, a, b] = shape;
  const { dense, leaf } = core(backend, rows, cols);
  const [left, right] = [randomValues(rows * a), randomValues(cols * b)];
  const [x, bias] = [randomValues(tokens * cols), randomValues(rows)];
  const form = product(input(backend, left, a), leaf, input(backend, right, b));
  const [plain, biased] = [0, 1].map(() => blank(backend, tokens * rows, rows));
  const source = input(backend, x, cols);
  const options = { bias: input(backend, bias, 1) };
  const before = backend.memory().live;
  const matrix = await backend.ops.prepare(form);
  const held = backend.memory().live;
  backend.ops.multiply(source, matrix, plain.view);
  backend.ops.multiply(source, matrix, biased.view, options);
  assert.is(backend.memory().live, held, "scratch that was not freed");
  matrix.dispose();
  assert.is(backend.memory().live, before, "a matrix that was not freed");

  const expected = new Float64Array(tokens * rows);
  const magnitude = new Float64Array(tokens * rows);
  for (let t = 0; t < tokens; t++) {
    const token = Float64Array.from(x.subarray(t * cols, (t + 1) * cols));
    const turned = turn(right, b, [token, token.map(Math.abs)]);
    const [out, size] = turn(left, a, multiply(dense, rows, turned));
    expected.set(out, t * rows);
    magnitude.set(size, t * rows);
  }
  // Each of the three products rounds as many times as it has terms, at random.
  const roundings = 4 + 2 * (Math.sqrt(a) + Math.sqrt(b) + Math.sqrt(cols));
  const bound = (i: number) => EPSILON * roundings * magnitude[i];
  const what = `${backend.name}: ${tokens} tokens, [${shape}]`;
  assertWithin(await plain.read(), expected, bound, what);
  const shifted = expected.map((value, i) => value + bias[i % rows]);
  const wider = (i: number) => bound(i) + EPSILON * Math.abs(shifted[i]);
  assertWithin(await biased.read(), shifted, wider, `${what}, bias`);
}

for (const open of OPENERS) {
  test(`${open.name}: y = A (S (B x)) + bias for any number of tokens and size of block`, async () => {
    const backend = await open();
    for (const shape of SHAPES) {
      for (const tokens of [...SIZES, 2]) await check(backend, tokens, shape);
    }
    // More than one run of tokens, of which the last has few and many.
    for (const tokens of [65, 127, 130]) await check(backend, tokens, [24, 40, 4, 8]);
    backend.dispose();
  });

  test(`${open.name}: refuses what does not fit`, async () => {
    const backend = await open();
    const fitting = {
      x: backend.zeros([2, 8]),
      left: backend.zeros([2, 3, 3]),
      right: backend.zeros([2, 4, 4]),
      out: backend.zeros([2, 6]),
      bias: backend.zeros([6]),
    };
    const { leaf } = core(backend, 6, 8);
    const run = async (changed: Partial<typeof fitting> = {}) => {
      const { x, left, right, out, bias } = { ...fitting, ...changed };
      const matrix = await backend.ops.prepare(product(left, leaf, right));
      backend.ops.multiply(x, matrix, out, { bias });
    };
    await run();
    for (const [changed, message] of [
      [{ x: backend.zeros([2, 12]) }, /x is \[2,12\], must be \[2, 8\]/],
      [{ left: backend.zeros([1, 4, 4]) }, /2:4 x f32 is \[6,8\] after \[4,4\]; columns must/],
      [{ left: backend.zeros([6, 4]) }, /blocks of 4 do not divide 6 rows/],
      [{ right: backend.zeros([8, 3]) }, /blocks of 3 do not divide 8 rows/],
      [{ out: backend.zeros([2, 8]) }, /out is \[2,8\], must be \[2, 6\]/],
      [{ bias: backend.zeros([8]) }, /bias has 8 elements, must have 6/],
    ] as const) {
      const error = await run(changed).then(
        () => undefined,
        (thrown: Error) => thrown,
      );
      assert.match(String(error?.message), message);
    }
    const same = backend.zeros([2, 8]);
    const square = product(fitting.right, core(backend, 8, 8).leaf, fitting.right);
    const matrix = await backend.ops.prepare(square);
    assert.throws(() => backend.ops.multiply(same, matrix, same), /out is x; give another tensor/);
    backend.dispose();
  });

  test(`${open.name}: a core of any format is the three products one after another`, async () => {
    const backend = await open();
    const [rows, cols, a, b] = [24, 40, 4, 8];
    const indices = new Uint8Array(rows * 5).fill(0x84);
    const left = backend.upload(randomValues(rows * a), [rows, a]);
    const right = backend.upload(randomValues(cols * b), [cols, b]);
    for (const format of FORMATS) {
      const made = formatCase(format, rows, cols / 2);
      const structure = { kind: "n:m", n: 2, m: 4 } as const;
      const leaf = leafOf(backend, made, [rows, cols], { width: cols / 2, structure, indices });
      const matrix = await backend.ops.prepare(leaf);
      const whole = await backend.ops.prepare(product(left, leaf, right));
      for (const tokens of [1, 3, 9, 40]) {
        const x = backend.upload(randomValues(tokens * cols), [tokens, cols]);
        const zeros = (width: number) => backend.zeros([tokens, width]);
        const [turned, inner, expected, actual] = [cols, rows, rows, rows].map(zeros);
        backend.ops.blockDiagonal(x, right, turned);
        backend.ops.multiply(turned, matrix, inner);
        backend.ops.blockDiagonal(inner, left, expected);
        backend.ops.multiply(x, whole, actual);
        const wanted = (await backend.read(expected)) as Float32Array;
        const most = wanted.reduce((size, value) => Math.max(size, Math.abs(value)), 0);
        const what = `${backend.name} ${format}, ${tokens} tokens`;
        assertWithin(await backend.read(actual), wanted, () => 32 * EPSILON * most, what);
        assert.ok(most > 0);
      }
    }
    backend.dispose();
  });
}

test.run();
