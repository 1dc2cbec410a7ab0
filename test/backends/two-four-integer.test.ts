// Products of 2:4 codes with int8 activations.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { openReference } from "../../src/backends/reference.js";
import { type Leaf, mapLeaves, type Numbers } from "../../src/form.js";
import { describe, partRules } from "../../src/forms/leaf.js";
import {
  isTwoFourInteger,
  type TwoFourIntegerLeaf,
  twoFourIntegerBytes,
} from "../../src/forms/two-four-integer.js";
import type { Tensor, TensorData } from "../../src/tensor.js";
import { randomLeaf } from "../forms/random-leaf.js";
import { blank, input, isGpu, OPENERS, randomValues } from "./operands.js";

const test = suite("two-four-integer");

const TWO_FOUR = { kind: "n:m", n: 2, m: 4 } as const;

/** Symmetric grids whose groups are of whole runs, for a matrix of as many columns. */
function gridsOf(cols: number): Numbers[] {
  return [8, 5, 4, 3, 1].flatMap((bits) =>
    [undefined, 32, 64, cols + 1].map((groupSize): Numbers => {
      return { kind: "grid", bits, symmetric: true, groupSize };
    }),
  );
}

/** Rows and columns around panels, units of eight columns, runs and groups. */
const SHAPES = [
  [1, 4],
  [4, 32],
  [5, 36],
  [13, 100],
  [35, 160],
  [64, 260],
] as const;

async function prepare(
  backend: Backend,
  form: Leaf<TensorData>,
  activations: "int8" | "float" = "int8",
) {
  const given = await mapLeaves(form, async (leaf): Promise<Leaf> => {
    const parts = new Map<string, Tensor>();
    for (const { name, shape } of partRules(leaf)) {
      parts.set(name, input(backend, leaf.parts.get(name)!, shape[shape.length - 1]));
    }
    return { ...leaf, parts };
  });
  return backend.ops.prepare(given, { activations });
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
  const matrix = await prepare(backend, form);
  assert.is(matrix.activations, "int8", describe(form));
  assert.is(matrix.held, describe(form));
  if (backend.name === "wasm") {
    assert.is(matrix.bytes, twoFourIntegerBytes(form as TwoFourIntegerLeaf<unknown>));
  }
  const out = blank(backend, tokens * rows, rows);
  const options = tokens % 2 ? { bias: input(backend, bias, 1) } : {};
  backend.ops.multiply(input(backend, x, cols), matrix, out.view, options);
  matrix.dispose();
  return out.read();
}

/** Activations of every size, with runs of zeros. */
function tokensOf(tokens: number, cols: number): Float32Array {
  return randomValues(tokens * cols).map((value, i) => {
    const run = Math.floor((i % cols) / 32);
    return run % 3 === 2 ? 0 : value * 10 ** ((run % 5) - 2);
  });
}

test("the reference's products are those of the rounded activations", async () => {
  const backend = await openReference();
  for (const [rows, cols] of SHAPES) {
    for (const numbers of gridsOf(cols)) {
      const { form, values } = randomLeaf(TWO_FOUR, numbers, [rows, cols]);
      const x = tokensOf(2, cols);
      const given = await multiply(backend, form, x, new Float32Array(rows));
      // By the matrix's values in float64, and the activations as forms/integer.ts rounds them.
      const rounded = Float64Array.from(x, (value, i) => {
        const first = i - (i % cols);
        const start = first + Math.floor((i % cols) / 32) * 32;
        const run = x.subarray(start, Math.min(first + cols, start + 32));
        const scale = Math.fround(
          run.reduce((most, one) => Math.max(most, Math.abs(one)), 0) / 127,
        );
        return scale > 0 ? Math.round(Math.fround(value / scale)) * scale : 0;
      });
      given.forEach((value, i) => {
        const [token, row] = [Math.floor(i / rows), i % rows];
        let [expected, size] = [0, 0];
        for (let c = 0; c < cols; c++) {
          const term = values[row * cols + c] * rounded[token * cols + c];
          expected += term;
          size += Math.abs(term);
        }
        const isClose = Math.abs(value - expected) <= 1e-5 * size + 1e-30;
        assert.ok(isClose, `${describe(form)} [${rows}, ${cols}]: ${value}, not ${expected}`);
      });
    }
  }
});

for (const open of OPENERS) {
  if (isGpu(open) || open.name === "openReference") continue;
  test(`${open.name}: products have the reference's bits`, async () => {
    const [backend, reference] = [await open(), await openReference()];
    for (const [rows, cols] of SHAPES) {
      for (const numbers of gridsOf(cols)) {
        const { form } = randomLeaf(TWO_FOUR, numbers, [rows, cols]);
        const bias = randomValues(rows);
        for (const tokens of [0, 1, 2, 5, 8]) {
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
    for (const bits of [8, 4]) {
      const { form } = randomLeaf(TWO_FOUR, { kind: "grid", bits, symmetric: true }, [rows, cols]);
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
      const { form } = randomLeaf(TWO_FOUR, numbers, [rows, cols]);
      const codes = form.parts.get("values") as Uint8Array;
      for (const code of [2 ** numbers.bits - 1, 0]) {
        codes.fill(code);
        for (const value of [1, -1, 3e38, 1e-44, -1e-45]) {
          for (const tokens of [1, 5]) {
            const x = new Float32Array(tokens * cols).fill(value);
            const expected = await multiply(reference, form, x, new Float32Array(rows));
            const given = await multiply(backend, form, x, new Float32Array(rows));
            assert.equal(given, expected, describe(form));
          }
        }
      }
    }
    backend.dispose();
  });

  test(`${open.name}: a token with NaN or infinity gives NaN, and others their numbers`, async () => {
    const [backend, reference] = [await open(), await openReference()];
    const [rows, cols] = [6, 72];
    for (const bits of [8, 4]) {
      const { form } = randomLeaf(TWO_FOUR, { kind: "grid", bits, symmetric: true }, [rows, cols]);
      for (const odd of [Number.NaN, Number.POSITIVE_INFINITY]) {
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
}

test("other grids and patterns, and activations of floats, are not multiplied so", async () => {
  const four = { kind: "grid", bits: 4, symmetric: true } as const;
  for (const [structure, numbers, activations] of [
    [TWO_FOUR, { ...four, groupSize: 16 }, "int8"],
    [TWO_FOUR, { ...four, groupSize: 48 }, "int8"],
    [TWO_FOUR, { ...four, symmetric: false }, "int8"],
    [{ kind: "n:m", n: 4, m: 8 }, four, "int8"],
    [TWO_FOUR, four, "float"],
  ] as const) {
    const { form } = randomLeaf(structure, numbers, [4, 96]);
    assert.is(isTwoFourInteger(form), activations === "float");
    for (const open of OPENERS) {
      const backend = await open();
      const matrix = await prepare(backend, form, activations);
      assert.is(matrix.activations, undefined);
      matrix.dispose();
      backend.dispose();
    }
  }
});

test.run();
