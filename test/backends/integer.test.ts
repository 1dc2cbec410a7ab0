import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { openReference } from "../../src/backends/reference.js";
import { type Leaf, mapLeaves, type Numbers } from "../../src/form.js";
import { type IntegerLeaf, integerBytes, isInteger } from "../../src/forms/integer.js";
import { decodeLeaf, describe, partRules } from "../../src/forms/leaf.js";
import type { Tensor, TensorData } from "../../src/tensor.js";
import { randomLeaf } from "../forms/random-leaf.js";
import { blank, input, isGpu, OPENERS, randomValues } from "./operands.js";

const test = suite("integer");

const DENSE = { kind: "dense" } as const;

/** Grids whose groups are of whole runs, for a matrix of as many columns. */
function gridsOf(cols: number): Numbers[] {
  return [8, 5, 4, 3, 2, 1].flatMap((bits) =>
    [true, false].flatMap((symmetric) =>
      [undefined, 32, 64, 128, cols + 1].map((groupSize): Numbers => {
        return { kind: "grid", bits, symmetric, groupSize };
      }),
    ),
  );
}

/** Fewer of them: every number of bits, with and without zero points. */
function someGrids(cols: number): Numbers[] {
  return gridsOf(cols).filter((_, i) => i % 3 === 0);
}

/** Rows and columns around panels, runs and groups. */
const SHAPES = [
  [1, 1],
  [4, 32],
  [5, 33],
  [13, 100],
  [35, 160],
  [64, 260],
] as const;

/** What scales can be held as, and the bits of an f32 that such ones have not. */
const SCALES = [
  ["f32", 0],
  ["f16", 13],
  ["bf16", 16],
] as const;

/** A leaf, its scales rounded to such ones, some of them negative or 0. */
function leafOf(
  numbers: Numbers,
  shape: readonly [number, number],
  scaleType: (typeof SCALES)[number] = SCALES[0],
): Leaf<TensorData> {
  const { form } = randomLeaf(DENSE, numbers, shape);
  const bits = new Uint32Array((form.parts.get("scales") as Float32Array).buffer);
  bits.forEach((scale, i) => {
    const sign = i % 3 === 1 ? 2 ** 31 : 0;
    bits[i] = i % 7 === 5 ? sign : ((scale >>> scaleType[1]) << scaleType[1]) + sign;
  });
  return form;
}

async function prepare(backend: Backend, form: Leaf<TensorData>) {
  const given = await mapLeaves(form, async (leaf): Promise<Leaf> => {
    const parts = new Map<string, Tensor>();
    for (const { name, shape } of partRules(leaf)) {
      parts.set(name, input(backend, leaf.parts.get(name)!, shape[shape.length - 1]));
    }
    return { ...leaf, parts };
  });
  return backend.ops.prepare(given, { activations: "int8" });
}

/** x [tokens, cols] times a leaf, with a bias when tokens are odd. */
async function multiply(
  backend: Backend,
  form: Leaf<TensorData>,
  x: Float32Array,
  bias: Float32Array,
): Promise<Float32Array> {
  const [rows, cols] = form.shape;
  const tokens = x.length / cols;
  const live = backend.memory().live;
  const matrix = await prepare(backend, form);
  assert.is(matrix.activations, "int8", describe(form));
  // What is told before a model is loaded.
  if (backend.name === "wasm") {
    const scales = new Uint32Array((form.parts.get("scales") as Float32Array).slice().buffer);
    const isHalf = [13, 16].some((dropped) => scales.every((bits) => bits % 2 ** dropped === 0));
    assert.is(matrix.bytes, integerBytes(form as IntegerLeaf<unknown>, isHalf ? 2 : 4));
  }
  const out = blank(backend, tokens * rows, rows);
  const options = tokens % 2 ? { bias: input(backend, bias, 1) } : {};
  backend.ops.multiply(input(backend, x, cols), matrix, out.view, options);
  matrix.dispose();
  matrix.dispose();
  assert.ok(backend.memory().live > live || backend.name === "reference");
  return out.read();
}

/** Activations of every size, with runs of zeros. */
function tokensOf(tokens: number, cols: number): Float32Array {
  return randomValues(tokens * cols).map((value, i) => {
    const run = Math.floor((i % cols) / 32);
    return run % 3 === 2 ? 0 : value * 10 ** ((run % 5) - 2);
  });
}

test("the reference's products differ from those of floats by what rounding the activations does", async () => {
  const backend = await openReference();
  for (const [rows, cols] of SHAPES) {
    for (const numbers of gridsOf(cols)) {
      const { form, values } = randomLeaf(DENSE, numbers, [rows, cols]);
      const x = tokensOf(2, cols);
      const given = await multiply(backend, form, x, new Float32Array(rows));
      given.forEach((value, i) => {
        const [token, row] = [Math.floor(i / rows), i % rows];
        let [expected, most] = [0, 0];
        for (let start = 0; start < cols; start += 32) {
          let largest = 0;
          let weights = 0;
          for (let c = start; c < Math.min(cols, start + 32); c++) {
            expected += values[row * cols + c] * x[token * cols + c];
            largest = Math.max(largest, Math.abs(x[token * cols + c]));
            weights += Math.abs(values[row * cols + c]);
          }
          most += (weights * largest) / 127 / 2;
        }
        const isClose = Math.abs(value - expected) <= most * 1.0001 + 1e-30;
        assert.ok(isClose, `${describe(form)} [${rows}, ${cols}]: ${value}, not ${expected}`);
      });
    }
  }
});

test("half of a unit is rounded to even numbers", async () => {
  const backend = await openReference();
  const numbers: Numbers = { kind: "grid", bits: 8, symmetric: true };
  const { form } = randomLeaf(DENSE, numbers, [1, 6]);
  (form.parts.get("values") as Uint8Array).set([128, 129, 129, 129, 129, 129]);
  (form.parts.get("scales") as Float32Array).set([1]);
  const x = Float32Array.of(127, 0.5, 1.5, 2.5, -0.5, -1.5);
  // 0 + 2 + 2 - 0 - 2.
  assert.equal([...(await multiply(backend, form, x, Float32Array.of(0.25)))], [2.25]);
});

for (const open of OPENERS) {
  if (open.name === "openReference") continue;
  test(`${open.name}: products have the reference's bits`, async () => {
    const [backend, reference] = [await open(), await openReference()];
    for (const [rows, cols] of SHAPES) {
      const grids = isGpu(open) ? someGrids(cols) : gridsOf(cols);
      for (const [i, numbers] of grids.entries()) {
        const form = leafOf(numbers, [rows, cols], SCALES[i % 3]);
        const bias = randomValues(rows);
        for (const tokens of isGpu(open) ? [0, 1, 5, 9] : [0, 1, 2, 5, 8]) {
          const x = tokensOf(tokens, cols);
          const what = `${describe(form)} [${rows}, ${cols}], ${tokens} tokens`;
          const expected = await multiply(reference, form, x, bias);
          assert.equal(await multiply(backend, form, x, bias), expected, what);
        }
      }
    }
    backend.dispose();
  });

  test(`${open.name}: so do those of more tokens than stay in a cache`, async () => {
    const [backend, reference] = [await open(), await openReference()];
    const [rows, cols, tokens] = [9, 1000, 213];
    for (const bits of [8, 4, 3]) {
      const form = leafOf({ kind: "grid", bits, symmetric: true }, [rows, cols], SCALES[1]);
      const [x, bias] = [tokensOf(tokens, cols), randomValues(rows)];
      const expected = await multiply(reference, form, x, bias);
      assert.equal(await multiply(backend, form, x, bias), expected, describe(form));
    }
    backend.dispose();
  });

  test(`${open.name}: the largest codes and activations neither wrap nor saturate`, async () => {
    const [backend, reference] = [await open(), await openReference()];
    const [rows, cols] = [8, 192];
    for (const numbers of gridsOf(cols)) {
      if (numbers.kind !== "grid") continue;
      const { form } = randomLeaf(DENSE, numbers, [rows, cols]);
      const codes = form.parts.get("values") as Uint8Array;
      for (const [code, sign] of [[2 ** numbers.bits - 1, 1] as const, [0, -1] as const]) {
        codes.fill(code);
        (form.parts.get("zeros") as Uint8Array)?.fill(code ? 0 : 2 ** numbers.bits - 1);
        for (const value of [sign, -sign, 3e38, 1e-44, -1e-45]) {
          const x = new Float32Array(5 * cols).fill(value);
          const expected = await multiply(reference, form, x, new Float32Array(rows));
          assert.equal(
            await multiply(backend, form, x, new Float32Array(rows)),
            expected,
            describe(form),
          );
        }
      }
    }
    backend.dispose();
  });

  test(`${open.name}: a token with NaN or infinity gives NaN, and others their numbers`, async () => {
    const [backend, reference] = [await open(), await openReference()];
    const [rows, cols] = [6, 70];
    for (const bits of [8, 4]) {
      const { form } = randomLeaf(DENSE, { kind: "grid", bits, symmetric: true }, [rows, cols]);
      for (const odd of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
        const x = tokensOf(6, cols);
        x[2 * cols + 66] = odd;
        const given = await multiply(backend, form, x, new Float32Array(rows));
        assert.ok(given.subarray(2 * rows, 3 * rows).every(Number.isNaN));
        const expected = await multiply(reference, form, x, new Float32Array(rows));
        assert.ok(given.every((value, i) => Object.is(value, expected[i])));
      }
    }
    backend.dispose();
  });

  test(`${open.name}: rows of the table are looked up`, async () => {
    const backend = await open();
    for (const [i, numbers] of gridsOf(100).entries()) {
      const form = leafOf(numbers, [13, 100], SCALES[i % 3]);
      const values = decodeLeaf(form);
      const matrix = await prepare(backend, form);
      const ids = Int32Array.of(12, 0, 7, 7);
      const out = blank(backend, 400, 100);
      backend.ops.embed(matrix, backend.upload(ids, [4]), out.view);
      const expected = Float32Array.from(
        { length: 400 },
        (_, i) => values[ids[Math.floor(i / 100)] * 100 + (i % 100)],
      );
      assert.equal(await out.read(), expected, describe(form));
      const beyond = backend.upload(Int32Array.of(13, 0, 0, 0), [4]);
      assert.throws(() => backend.ops.embed(matrix, beyond, out.view), /13/);
      matrix.dispose();
    }
    backend.dispose();
  });
}

test("groups that are no whole runs, and other structures, are multiplied as floats", async () => {
  for (const numbers of [
    { kind: "grid", bits: 8, symmetric: true, groupSize: 16 },
    { kind: "grid", bits: 8, symmetric: true, groupSize: 48 },
    { kind: "float", dtype: "f16" },
  ] as const) {
    const { form } = randomLeaf(DENSE, numbers, [4, 96]);
    assert.not.ok(isInteger(form));
    for (const open of OPENERS) {
      const backend = await open();
      const matrix = await prepare(backend, form);
      assert.is(matrix.activations, undefined);
      matrix.dispose();
      backend.dispose();
    }
  }
});

test.run();
