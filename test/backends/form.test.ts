import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { decode } from "../../src/decode.js";
import { type Form, type Leaf, mapLeaves, type Numbers, type Structure } from "../../src/form.js";
import {
  decodeLeaf,
  denseLeaf,
  describe,
  leafDamage,
  leafRefusal,
  partRules,
} from "../../src/forms/leaf.js";
import { packTwoFour } from "../../src/pack.js";
import { sizeOf, type Tensor, type TensorData } from "../../src/tensor.js";
import { type HostForm, productOf, randomLeaf, sumOf } from "../forms/random-leaf.js";
import { assertWithin, blank, EPSILON, input, isGpu, OPENERS, randomValues } from "./operands.js";

const test = suite("form");

const DENSE = { kind: "dense" } as const;
const TWO_FOUR = { kind: "n:m", n: 2, m: 4 } as const;
/** Of shapes whose rows are whole blocks. */
const K_NUMBERS: readonly Numbers[] = (["Q4_K", "Q5_K", "Q6_K"] as const).map((type) => {
  return { kind: "k-type", type };
});
const F32 = { kind: "float", dtype: "f32" } as const;
const F16 = { kind: "float", dtype: "f16" } as const;
const INT8 = { kind: "grid", bits: 8, symmetric: true } as const;

/** Structures, each with a shape that has it and is no multiple of anything else. */
const STRUCTURES: readonly (readonly [Structure, readonly [number, number]])[] = [
  [DENSE, [7, 13]],
  [TWO_FOUR, [9, 20]],
  [{ kind: "n:m", n: 4, m: 8 }, [5, 24]],
  [{ kind: "n:m", n: 1, m: 4 }, [3, 12]],
  [{ kind: "n:m", n: 2, m: 3 }, [4, 15]],
  [{ kind: "n:m", n: 5, m: 11 }, [3, 33]],
  [{ kind: "n:m", n: 3, m: 16 }, [2, 48]],
  [{ kind: "blocks", size: 5 }, [15, 15]],
];
const NUMBERS: readonly Numbers[] = [
  F32,
  F16,
  { kind: "float", dtype: "bf16" },
  INT8,
  { kind: "grid", bits: 8, symmetric: true, groupSize: 8 },
  { kind: "grid", bits: 4, symmetric: true },
  { kind: "grid", bits: 4, symmetric: false, groupSize: 7 },
  { kind: "grid", bits: 1, symmetric: true, groupSize: 4 },
  { kind: "grid", bits: 3, symmetric: false },
  { kind: "table", bits: 4, groupSize: 7 },
  { kind: "table", bits: 1 },
  { kind: "affine", bits: 3, groupSize: 8 },
];

const PAIRS: readonly Numbers[] = [
  { kind: "pairs", bits: 4, groupSize: 6 },
  { kind: "pairs", bits: 4 },
  { kind: "pairs", bits: 8, groupSize: 32 },
];

/** The same form on a backend, NaN or sentinels around each part. */
function onBackend(backend: Backend, form: Form<TensorData>): Promise<Form> {
  return mapLeaves(form, async (leaf): Promise<Leaf> => {
    const parts = new Map<string, Tensor>();
    for (const { name, shape } of partRules(leaf)) {
      parts.set(name, input(backend, leaf.parts.get(name)!, shape[shape.length - 1]));
    }
    return { ...leaf, parts };
  });
}

/** Products of a form with tokens against float64 sums over what it stands for. */
async function check(
  backend: Backend,
  { form, values, sizes }: HostForm,
  [rows, cols]: readonly [number, number],
  manyTokens: readonly number[],
  depth = cols,
): Promise<void> {
  const given = await onBackend(backend, form);
  const before = backend.memory().live;
  const matrix = await backend.ops.prepare(given);
  assert.equal([matrix.rows, matrix.cols, matrix.held], [rows, cols, describe(form)]);
  assert.ok(matrix.bytes > 0);
  for (const tokens of manyTokens) {
    const [x, bias] = [randomValues(tokens * cols), randomValues(rows)];
    const out = blank(backend, tokens * rows, rows);
    const options = tokens % 2 ? { bias: input(backend, bias, 1) } : {};
    const held = backend.memory().live;
    backend.ops.multiply(input(backend, x, cols), matrix, out.view, options);
    // Apart from x, scratch is given back.
    assert.ok(backend.memory().live - held <= 4 * (x.length + 2 * 64 * cols + 64));
    const expected = new Float64Array(tokens * rows);
    const bounds = new Float64Array(tokens * rows);
    for (let i = 0; i < expected.length; i++) {
      const [token, row] = [Math.floor(i / rows), i % rows];
      let size = tokens % 2 ? Math.abs(bias[row]) : 0;
      if (tokens % 2) expected[i] = bias[row];
      for (let c = 0; c < cols; c++) {
        expected[i] += values[row * cols + c] * x[token * cols + c];
        size += sizes[row * cols + c] * Math.abs(x[token * cols + c]);
      }
      bounds[i] = EPSILON * (8 + 4 * Math.sqrt(depth)) * size;
    }
    const what = `${backend.name}: ${matrix.held} [${rows}, ${cols}], ${tokens} tokens`;
    assertWithin(await out.read(), expected, (i) => bounds[i], what);
  }
  const live = backend.memory().live;
  matrix.dispose();
  matrix.dispose();
  assert.ok(backend.name === "reference" || backend.memory().live < live, "nothing was freed");
  assert.ok(backend.memory().live >= before);
  const dense = await decode(backend, given);
  const most = (i: number) => EPSILON * (1 + Math.sqrt(depth)) * sizes[i];
  assertWithin((await backend.read(dense)) as Float32Array, values, most, describe(form));
  dense.dispose();
}

for (const [structure, shape] of STRUCTURES) {
  test(`${describe(leafLike(structure))}: is decoded as documented, and damage is seen`, () => {
    for (const numbers of NUMBERS) {
      const { form, values } = randomLeaf(structure, numbers, shape);
      const rounded = Float32Array.from(values);
      assert.equal(decodeLeaf(form), rounded, describe(form));
      assert.is(leafDamage(form), undefined);
      for (const { name, shape: size } of partRules(form)) {
        assert.is(form.parts.get(name)!.length, sizeOf(size), `${describe(form)}: ${name}`);
      }
      if (structure.kind !== "n:m") continue;
      const indices = (form.parts.get("indices") as Uint8Array).slice().fill(0);
      const damaged = { ...form, parts: new Map([...form.parts, ["indices", indices]]) };
      if (structure.n > 1) assert.match(String(leafDamage(damaged)), /rise within a group/);
      indices.fill(255);
      assert.match(String(leafDamage(damaged)), /must be below|bits set after its last value|rise/);
    }
  });
}

function leafLike(structure: Structure): Form<undefined> {
  return { ...denseLeaf(undefined, [0, 0]), structure };
}

test("pairs are of two neighbours, in groups that hold them whole", () => {
  const refusal = (structure: Structure, numbers: Numbers, cols: number) =>
    leafRefusal({ ...denseLeaf(undefined, [2, cols]), structure, numbers });
  const [by6, byRow] = PAIRS;
  assert.is(refusal(DENSE, by6, 8), undefined);
  assert.match(String(refusal(DENSE, byRow, 7)), /its 7 columns are no whole pairs/);
  assert.match(
    String(refusal(DENSE, { kind: "pairs", bits: 4, groupSize: 5 }, 8)),
    /groups of 5 columns are no whole pairs/,
  );
  assert.match(String(refusal(DENSE, { kind: "pairs", bits: 9 }, 8)), /from 1 to 8/);
  assert.match(String(refusal(TWO_FOUR, by6, 8)), /only dense matrices hold values by twos/);
});

test("the indices of 2:4 are the codes of the layout two-four", () => {
  const { form } = randomLeaf(TWO_FOUR, F32, [5, 20]);
  const weight = decodeLeaf(form);
  const packed = packTwoFour(weight, 5, 20);
  assert.equal(form.parts.get("indices"), packed.indices);
  assert.equal(form.parts.get("values"), packed.values);
});

for (const open of OPENERS) {
  for (const [structure, shape] of STRUCTURES) {
    test(`${open.name}: multiplies by ${describe(leafLike(structure))} of any numbers`, async () => {
      const backend = await open();
      for (const numbers of NUMBERS) {
        await check(backend, randomLeaf(structure, numbers, shape), shape, [0, 1, 5, 20]);
      }
      backend.dispose();
    });
  }

  test(`${open.name}: multiplies by pairs`, async () => {
    const backend = await open();
    for (const numbers of PAIRS) {
      const given = randomLeaf(DENSE, numbers, [5, 38]);
      assert.equal(decodeLeaf(given.form), Float32Array.from(given.values));
      await check(backend, given, [5, 38], [0, 1, 5]);
    }
    backend.dispose();
  });

  test(`${open.name}: multiplies by K types`, async () => {
    const backend = await open();
    for (const numbers of K_NUMBERS) {
      await check(backend, randomLeaf(DENSE, numbers, [3, 512]), [3, 512], [0, 1, 5]);
    }
    backend.dispose();
  });

  test(`${open.name}: multiplies by products and sums of anything`, async () => {
    const backend = await open();
    const leaf = (structure: Structure, numbers: Numbers, rows: number, cols: number) =>
      randomLeaf(structure, numbers, [rows, cols]);
    const low = productOf(12, leaf(DENSE, F32, 12, 3), leaf(DENSE, INT8, 3, 24));
    const coded = leaf({ kind: "n:m", n: 4, m: 8 }, INT8, 12, 24);
    const blocks = (size: number, n: number) => leaf({ kind: "blocks", size }, F32, n, n);
    const tokens = isGpu(open) ? [0, 1, 7] : [0, 1, 7, 300, 530];
    const cases: readonly HostForm[] = [
      low,
      sumOf(coded, low),
      productOf(12, blocks(4, 12), leaf(TWO_FOUR, F16, 12, 24), blocks(8, 24)),
      productOf(12, blocks(4, 12), leaf(DENSE, F16, 12, 24), blocks(8, 24)),
      productOf(12, blocks(4, 12), coded, blocks(8, 24)),
      productOf(12, blocks(4, 12), sumOf(coded, low, leaf(TWO_FOUR, F32, 12, 24))),
      productOf(12, leaf(DENSE, F32, 12, 24)),
      sumOf(leaf(DENSE, F32, 12, 24)),
    ];
    for (const form of cases) await check(backend, form, [12, 24], tokens, 100);
    const square = productOf(24, blocks(4, 24), blocks(8, 24), blocks(3, 24));
    await check(backend, square, [24, 24], tokens, 100);
    backend.dispose();
  });

  test(`${open.name}: says how matrices were held, and why`, async () => {
    const backend = await open();
    const products = () => backend.served().filter(({ operation }) => operation === "multiply");
    const before = new Map(products().map(({ held, calls }) => [held, calls]));
    const x = backend.zeros([2, 24]);
    const out = backend.zeros([2, 12]);
    const coded = randomLeaf({ kind: "n:m", n: 4, m: 8 }, INT8, [12, 24]);
    for (const { form } of [coded, randomLeaf(TWO_FOUR, F32, [12, 24])]) {
      const matrix = await backend.ops.prepare(await onBackend(backend, form));
      backend.ops.multiply(x, matrix, out);
    }
    backend.ops.multiply(x, backend.zeros([12, 24]), out);
    const lines = ["4:8 x int8", "2:4 x f32", "dense x f32"].map((held) => {
      const line = products().find((one) => one.held === held)!;
      assert.is(line.calls - (before.get(held) ?? 0), 1, held);
      return line;
    });
    const reason = `${backend.name} has no kernel for 4:8 x int8: decoded to dense`;
    assert.is(lines[0].reason, backend.name === "reference" ? undefined : reason);
    assert.is(lines[1].reason, undefined);
    backend.dispose();
  });

  test(`${open.name}: a shared matrix is the one that is given`, async () => {
    const backend = await open();
    const { form, values } = randomLeaf(DENSE, F32, [6, 8]);
    const own = await backend.ops.prepare(await onBackend(backend, form));
    let freed = 0;
    const lent = { ...own, dispose: () => freed++ };
    const shared = { kind: "shared", of: "other" } as const;
    const given: string[] = [];
    const terms = [shared, shared];
    const doubled = await backend.ops.prepare(
      { kind: "sum", terms },
      {
        shared(of) {
          given.push(of);
          return lent;
        },
      },
    );
    assert.equal(given, ["other", "other"]);
    const x = backend.upload(
      new Float32Array(8).map((_, i) => Number(i === 3)),
      [1, 8],
    );
    const out = backend.zeros([1, 6]);
    backend.ops.multiply(x, doubled, out);
    const expected = Array.from({ length: 6 }, (_, row) => 2 * values[row * 8 + 3]);
    assertWithin(
      await backend.read(out),
      expected,
      (i) => EPSILON * Math.abs(expected[i]),
      "twice",
    );
    doubled.dispose();
    assert.is(freed, 2);
    assert.throws(() => backend.ops.prepare(shared), /other is shared; say what it stands for/);
    backend.dispose();
  });

  test(`${open.name}: refuses forms that cannot be`, async () => {
    const backend = await open();
    const { form } = randomLeaf(TWO_FOUR, INT8, [6, 8]);
    const leaf = (await onBackend(backend, form)) as Leaf;
    const dense = (rows: number, cols: number) =>
      denseLeaf(backend.zeros([rows, cols]), [rows, cols]);
    const without = (part: string) => new Map([...leaf.parts].filter(([name]) => name !== part));
    const grid = (change: object) => ({ ...leaf, numbers: { ...INT8, ...change } }) as Form;
    for (const [given, message] of [
      [{ ...leaf, shape: [6, 10] }, /10 columns are not a multiple of 4/],
      [{ ...leaf, shape: [7, 8] }, /values is \[6,4\], must be \[7, 4\]/],
      [{ ...leaf, parts: without("indices") }, /2:4 x int8 needs the part "indices"/],
      [{ ...leaf, structure: { kind: "n:m", n: 4, m: 4 } }, /must keep 1 <= n < m/],
      [{ ...leaf, structure: { kind: "n:m", n: 1, m: 17 } }, /m at most 16/],
      [{ ...leaf, structure: { kind: "blocks", size: 2 } }, /in a square matrix/],
      [{ ...dense(6, 6), structure: { kind: "blocks", size: 4 } }, /blocks of 4 do not divide/],
      [{ ...dense(6, 6), numbers: F16 }, /values is f32, must be u16/],
      [grid({ bits: 9 }), /bits must be a whole number from 1 to 8/],
      [grid({ groupSize: 0 }), /groupSize must be/],
      [grid({ symmetric: false }), /needs the part "zeros"/],
      [grid({ groupSize: 4 }), /scales has 6 elements, must have 12/],
      [{ kind: "product", factors: [] }, /a product is empty/],
      [{ kind: "sum", terms: [] }, /a sum is empty/],
      [{ kind: "product", factors: [dense(3, 4), dense(5, 4)] }, /\[5,4\] after \[3,4\]; columns/],
      [{ kind: "sum", terms: [dense(3, 4), dense(3, 5)] }, /terms must have one shape/],
    ] as const) {
      assert.throws(() => backend.ops.prepare(given as Form), message);
    }
    const matrix = await backend.ops.prepare(leaf);
    const ids = backend.upload(Int32Array.of(1), [1]);
    if (backend.name !== "reference") {
      assert.throws(() => backend.ops.embed(matrix, ids, backend.zeros([1, 8])), /is not dense/);
    }
    backend.dispose();
  });
}

test.run();
