import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { twoFourLeaf } from "../../src/forms/leaf.js";
import { assertProduct, FORMATS, formatCase, leafOf } from "./formats.js";
import {
  assertWithin,
  blank,
  EPSILON,
  input,
  OPENERS,
  output,
  outputBytes,
  random,
  randomValues,
  SIZES,
} from "./operands.js";

const test = suite("two-four");

/** A random matrix with at most two non-zeros in each group of 4; some groups have fewer. */
function sparse(rows: number, cols: number): Float32Array {
  const w = new Float32Array(rows * cols);
  for (let at = 0; at < w.length; at += 4) {
    const first = Math.floor(random() * 4);
    const second = Math.floor(random() * 4);
    if (random() > 0.05) w[at + first] = 2 * random() - 1;
    if (random() > 0.05) w[at + second] = 2 * random() - 1;
  }
  return w;
}

/** Values and indices as documented in docs/layouts.md, written down a second time. */
function packed(w: Float32Array, rows: number, cols: number) {
  const width = Math.ceil(cols / 8);
  const values: number[] = [];
  const indices = new Uint8Array(rows * width);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col += 4) {
      const group = [0, 1, 2, 3].map((i) => w[row * cols + col + i]);
      const slots = [0, 1, 2, 3].filter((i) => group[i] !== 0);
      for (let i = 0; slots.length < 2; i++) if (group[i] === 0) slots.push(i);
      slots.sort((a, b) => a - b);
      values.push(group[slots[0]], group[slots[1]]);
      const code = slots[0] + 4 * slots[1];
      indices[row * width + Math.floor(col / 8)] += col % 8 === 0 ? code : 16 * code;
    }
  }
  return { values: Float32Array.from(values), indices, width };
}

async function checkProduct(backend: Backend, tokens: number, rows: number, cols: number) {
  for (const withBias of [false, true]) {
    const w = sparse(rows, cols);
    const x = randomValues(tokens * cols);
    const bias = withBias ? randomValues(rows) : undefined;
    const { values, indices, width } = packed(w, rows, cols);
    const [v, i] = [input(backend, values, cols / 2), input(backend, indices, width)];
    const matrix = await backend.ops.prepare(twoFourLeaf(v, i, [rows, cols]));
    const out = blank(backend, tokens * rows, rows);
    const options = bias && { bias: input(backend, bias, 1) };
    backend.ops.multiply(input(backend, x, cols), matrix, out.view, options);
    matrix.dispose();
    const what = withBias ? "with bias" : "without bias";
    assertProduct(backend, await out.read(), { x, w, bias }, [tokens, rows, cols], what);
  }
}

/** Products with values of a format at random places, against sums over the dense weights. */
async function checkFormat(
  backend: Backend,
  format: (typeof FORMATS)[number],
  [tokens, rows, cols]: readonly number[],
  size = 1,
): Promise<void> {
  const made = formatCase(format, rows, cols / 2);
  const { values } = made;
  const width = Math.ceil(cols / 8);
  const indices = new Uint8Array(rows * width);
  const dense = new Float64Array(rows * cols);
  for (let row = 0; row < rows; row++) {
    for (let group = 0; group < cols / 4; group++) {
      const first = Math.floor(random() * 3);
      const second = first + 1 + Math.floor(random() * (3 - first));
      indices[row * width + (group >> 1)] |= (first | (second << 2)) << (4 * (group & 1));
      const slot = (row * cols) / 2 + 2 * group;
      dense[row * cols + 4 * group + first] = values[slot];
      dense[row * cols + 4 * group + second] = values[slot + 1];
    }
  }
  const x = randomValues(tokens * cols).map((value) => value * size);
  const bias = tokens % 2 ? randomValues(rows) : undefined;
  const structure = { kind: "n:m", n: 2, m: 4 } as const;
  const held = { width: cols / 2, structure, indices };
  const matrix = await backend.ops.prepare(leafOf(backend, made, [rows, cols], held));
  const out = blank(backend, tokens * rows, rows);
  const withBias = bias && { bias: input(backend, bias, 1) };
  backend.ops.multiply(input(backend, x, cols), matrix, out.view, withBias);
  matrix.dispose();
  const product = { x, w: dense, bias };
  assertProduct(backend, await out.read(), product, [tokens, rows, cols], format);
}

for (const backend of await Promise.all(OPENERS.map((open) => open()))) {
  test(`${backend.name}: packs as documented, and unpacks`, async () => {
    for (const rows of SIZES) {
      for (const cols of [0, 4, 8, 12, 16, 20, 124, 132]) {
        const w = sparse(rows, cols);
        const expected = packed(w, rows, cols);
        const values = blank(backend, (rows * cols) / 2, cols / 2);
        const indices = outputBytes(backend, rows * expected.width, expected.width);
        const source = input(backend, w, cols);
        assert.is(await backend.ops.packTwoFour(source, values.view, indices.view), -1);
        assert.equal(await values.read(), expected.values);
        assert.equal(await indices.read(), expected.indices);
        const back = blank(backend, rows * cols, cols);
        backend.ops.unpackTwoFour(values.view, indices.view, back.view);
        assert.equal(await back.read(), w, `[${rows}, ${cols}]`);
      }
    }
  });

  test(`${backend.name}: every kind of group packs to its code, and names the first misfit`, async () => {
    for (let set = 0; set < 16; set++) {
      const w = new Float32Array(3 * 12);
      const bad = 2 * 3 + 1;
      for (let i = 0; i < 4; i++) if (set & (1 << i)) w[4 * bad + i] = Number.NaN;
      const fits = [0, 1, 2, 3].filter((i) => set & (1 << i)).length <= 2;
      const values = backend.zeros([3, 6]);
      const indices = backend.zeros([3, 2], "u8");
      const found = await backend.ops.packTwoFour(backend.upload(w, [3, 12]), values, indices);
      assert.is(found, fits ? -1 : bad, `non-zeros ${set.toString(2)}`);
      if (!fits) continue;
      assert.equal(await backend.read(indices), packed(w, 3, 12).indices);
    }
  });

  test(`${backend.name}: multiplies any number of tokens, rows and groups`, async () => {
    for (const tokens of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16, 17, 18, 25, 33]) {
      for (const rows of [1, 2, 3, 7, 8, 9, 17]) {
        for (const cols of [4, 8, 44]) await checkProduct(backend, tokens, rows, cols);
      }
    }
  });

  test(`${backend.name}: multiplies past its cache blocks`, async () => {
    for (const [tokens, rows, cols] of [
      [0, 0, 4],
      [1, 131, 1036],
      [5, 67, 516],
      [33, 67, 516],
      [64, 130, 388],
    ]) {
      await checkProduct(backend, tokens, rows, cols);
    }
  });

  for (const format of FORMATS) {
    test(`${backend.name}: multiplies by ${format} values`, async () => {
      for (const tokens of [0, 1, 2, 3, 4, 5, 9, 10, 12, 17, 37]) {
        for (const rows of [1, 7, 8, 33]) {
          for (const cols of [4, 8, 44]) await checkFormat(backend, format, [tokens, rows, cols]);
        }
      }
      for (const tokens of [1, 3, 40]) await checkFormat(backend, format, [tokens, 139, 516]);
      await checkFormat(backend, format, [259, 11, 260]);
      await checkFormat(backend, format, [1, 9, 24], 1e20);
      await checkFormat(backend, format, [1, 9, 24], 1e-20);
    });
  }

  test(`${backend.name}: a prepared matrix outlives what it was made of, and says its size`, async () => {
    const w = sparse(9, 16);
    const { values, indices } = packed(w, 9, 16);
    const v = backend.upload(values, [9, 8]);
    const i = backend.upload(indices, [9, 2]);
    const matrix = await backend.ops.prepare(twoFourLeaf(v, i, [9, 16]));
    backend.write(v, new Float32Array(72).fill(Number.NaN));
    backend.write(i, new Uint8Array(18).fill(255));
    v.dispose();
    i.dispose();
    const x = Float32Array.from({ length: 16 }, (_, c) => c + 1);
    const out = output(backend, new Float32Array(9), 9);
    backend.ops.multiply(backend.upload(x, [1, 16]), matrix, out.view);
    const expected = Array.from({ length: 9 }, (_, r) =>
      x.reduce((sum, value, c) => sum + value * w[r * 16 + c], 0),
    );
    assertWithin(await out.read(), expected, () => 16 * 16 * EPSILON, backend.name);
    assert.is(matrix.rows, 9);
    assert.is(matrix.cols, 16);
    assert.ok(matrix.bytes < 16 * 16 * 4 * 0.6, `${matrix.bytes} bytes`);
    matrix.dispose();
    matrix.dispose();
  });
}

test.run();
