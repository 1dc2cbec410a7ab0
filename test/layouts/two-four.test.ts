import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { TensorEntry } from "../../src/layout.js";
import { twoFour } from "../../src/layouts/two-four.js";
import { packTwoFour, unpackTwoFour } from "../../src/pack.js";

const test = suite("layouts/two-four");

function bytesOf(values: readonly number[]): Uint8Array {
  return new Uint8Array(Float32Array.from(values).buffer);
}

test("stores a known matrix byte for byte", () => {
  const rows = [
    [0, 5, 0, 6, /**/ 7, 8, 0, 0, /**/ 0, 0, 9, 10],
    [0, 0, 0, 0, /**/ 0, 11, 0, 0, /**/ 12, 0, 0, 0],
    [0, 0, 13, 0, /**/ 0, 0, 0, 14, /**/ 15, 0, 0, 16],
  ];
  const weight: TensorEntry = { name: "a.weight", dtype: "F32", shape: [3, 12] };
  const parts = twoFour.pack(weight, bytesOf(rows.flat()));
  assert.equal(twoFour.entries(weight), [
    { name: "a.weight.two_four.values", dtype: "F32", shape: [3, 6] },
    { name: "a.weight.two_four.indices", dtype: "U8", shape: [3, 2] },
  ]);
  assert.equal(
    parts.get("a.weight.two_four.values"),
    bytesOf([5, 6, 7, 8, 9, 10, 0, 0, 0, 11, 12, 0, 0, 13, 0, 14, 15, 16]),
  );
  // Codes i0 | i1 << 2: (1,3) 13, (0,1) 4, (2,3) 14; (0,1) 4, (0,1) 4, (0,1) 4; (0,2) 8, (0,3) 12, (0,3) 12.
  assert.equal(
    parts.get("a.weight.two_four.indices"),
    Uint8Array.from([0x4d, 0x0e, 0x44, 0x04, 0xc8, 0x0c]),
  );
});

test("a half-precision -0 counts as zero, as in f32", () => {
  const half = Uint16Array.from([0x8000, 0x3c00, 0x8000, 0xbc00]);
  const packed = packTwoFour(half, 1, 4);
  assert.equal([...packed.values], [0x3c00, 0xbc00]);
  assert.equal([...unpackTwoFour(packed)], [0, 0x3c00, 0, 0xbc00]);
  assert.equal([...packTwoFour(Float32Array.from([-0, 1, -0, -1]), 1, 4).values], [1, -1]);
});

test("refuses a matrix that is not 2:4, naming row and group", () => {
  const w = new Float32Array(5 * 16);
  w.set([1, 0, 2, 3], 3 * 16 + 8);
  assert.throws(
    () => packTwoFour(w, 5, 16),
    /row 3, group 2 \(columns 8 to 11\) has more than 2 non-zeros/,
  );
  const weight: TensorEntry = { name: "layers.0.up", dtype: "F32", shape: [5, 16] };
  assert.throws(
    () => twoFour.pack(weight, new Uint8Array(w.buffer)),
    /\[layers\.0\.up\] row 3, group 2/,
  );
});

test("refuses shapes and dtypes that cannot be 2:4", () => {
  const refused = (shape: number[], dtype: TensorEntry["dtype"] = "F32") =>
    twoFour.refusal({ name: "w", dtype, shape }) ?? "accepted";
  assert.match(refused([8]), /shape \[8\]/);
  assert.match(refused([8, 6]), /6 columns are not a multiple of 4/);
  assert.match(refused([8, 8], "I32"), /I32/);
  assert.is(refused([0, 0], "BF16"), "accepted");
  assert.throws(() => packTwoFour(new Float32Array(12), 2, 6), /multiple of 4/);
  assert.throws(() => packTwoFour(new Float32Array(12), 2, 8), /12 elements, must have 16/);
  const weight: TensorEntry = { name: "w", dtype: "F32", shape: [2, 8] };
  assert.throws(() => twoFour.pack(weight, new Uint8Array(60)), /60 bytes, must have 64/);
});

test("refuses parts that packing could not have made", () => {
  const weight: TensorEntry = { name: "w", dtype: "F32", shape: [1, 12] };
  const values = new Uint8Array(24);
  const unpack = (...codes: number[]) =>
    twoFour.unpack(
      weight,
      new Map([
        ["w.two_four.values", values],
        ["w.two_four.indices", Uint8Array.from(codes)],
      ]),
    );
  assert.is(unpack(0x44, 0x04).length, 48);
  assert.throws(() => unpack(0x44, 0x44), /row 0, group 3/);
  assert.throws(() => unpack(0x44, 0x05), /row 0, group 2 has the code 5/);
  assert.throws(() => unpack(0x14, 0x04), /row 0, group 1 has the code 1/);
  assert.throws(() => unpack(0x44), /1 bytes, must have 2/);
  assert.throws(() => twoFour.unpack(weight, new Map()), /both needed/);
});

test("refuses a file whose tensors contradict each other", () => {
  const values: TensorEntry = { name: "w.two_four.values", dtype: "F16", shape: [3, 6] };
  const indices: TensorEntry = { name: "w.two_four.indices", dtype: "U8", shape: [3, 2] };
  const norm: TensorEntry = { name: "norm", dtype: "F16", shape: [12] };
  assert.equal(twoFour.weights([norm, indices, values]), [
    { name: "w", dtype: "F16", shape: [3, 12] },
  ]);
  const cases: [TensorEntry[], RegExp][] = [
    [[values], /w\.two_four\.indices\] it is missing, must be U8 \[3,2\]/],
    [[indices], /values it belongs to are missing/],
    [[values, { ...indices, shape: [3, 3] }], /U8 \[3,3\], must be U8 \[3,2\]/],
    [[values, { ...indices, dtype: "I8" }], /I8 \[3,2\]/],
    [[{ ...values, shape: [18] }, indices], /cannot be the values/],
    [[{ ...values, shape: [3, 5] }, indices], /cannot be the values/],
    [[values, indices, { name: "w", dtype: "F16", shape: [3, 12] }], /both dense and packed/],
  ];
  for (const [stored, message] of cases) assert.throws(() => twoFour.weights(stored), message);
});

test("packTwoFour refuses exactly the matrices with a group of more than 2 non-zeros", () => {
  const element = fc.constantFrom(0, 0, 0, 1, -2.5, Number.NaN);
  const matrix = fc.array(fc.array(element, { minLength: 4, maxLength: 4 }), { maxLength: 12 });
  fc.assert(
    fc.property(matrix, (groups) => {
      const w = Float32Array.from(groups.flat());
      const first = groups.findIndex((group) => group.filter((x) => x !== 0).length > 2);
      if (first < 0) assert.equal([...unpackTwoFour(packTwoFour(w, groups.length, 4))], [...w]);
      else {
        const message = new RegExp(`row ${first}, group 0 `);
        assert.throws(() => packTwoFour(w, groups.length, 4), message);
      }
    }),
  );
});

test.run();
