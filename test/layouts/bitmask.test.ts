import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { TensorEntry, WeightFacts } from "../../src/layout.js";
import { findLayout } from "../../src/layouts/index.js";

const test = suite("layouts/bitmask");

const structured = findLayout("sparse-24-bitmask");
const free = findLayout("sparse-bitmask");

function bytesOf(values: readonly number[]): Uint8Array {
  return new Uint8Array(Float32Array.from(values).buffer);
}

function numbers(...values: number[]): Uint8Array {
  return new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
}

test("sparse-24-bitmask stores a known matrix byte for byte", () => {
  const rows = [
    [0, 5, 0, 6, /**/ 7, 8, 0, 0, /**/ 0, 0, 9, 10],
    [0, 0, 0, 0, /**/ 0, 0, 0, 11, /**/ 12, 0, 0, 0],
  ];
  const weight: TensorEntry = { name: "a.q_proj.weight", dtype: "F32", shape: [2, 12] };
  assert.equal(structured.entries(weight), [
    { name: "a.q_proj.compressed", dtype: "F32", shape: [2, 6] },
    { name: "a.q_proj.bitmask", dtype: "U8", shape: [2, 2] },
    { name: "a.q_proj.shape", dtype: "I64", shape: [2, 1] },
  ]);
  const parts = structured.pack(weight, bytesOf(rows.flat()));
  assert.equal(parts.get("a.q_proj.compressed"), bytesOf([5, 6, 7, 8, 9, 10, 0, 0, 0, 11, 12, 0]));
  assert.equal(
    parts.get("a.q_proj.bitmask"),
    Uint8Array.from([0b0011_1010, 0b1100, 0b1001_0011, 0b0011]),
  );
  assert.equal(parts.get("a.q_proj.shape"), numbers(2, 12));
});

test("sparse-24-bitmask refuses a mask or a shape that packing could not have made", () => {
  const weight: TensorEntry = { name: "m.weight", dtype: "F32", shape: [1, 12] };
  const unpack = (mask: number[], shape = numbers(1, 12)) =>
    structured.unpack(
      weight,
      new Map([
        ["m.compressed", new Uint8Array(24)],
        ["m.bitmask", Uint8Array.from(mask)],
        ["m.shape", shape],
      ]),
    );
  assert.is(unpack([0x33, 0x3]).length, 48);
  assert.throws(() => unpack([0x13, 0x3]), /m\.bitmask\] row 0, group 1 has not 2 bits set/);
  assert.throws(() => unpack([0x33, 0x7]), /row 0, group 2 has not 2 bits set/);
  assert.throws(() => unpack([0x33, 0x0]), /row 0, group 2 has not 2 bits set/);
  assert.throws(() => unpack([0x33, 0x13]), /row 0 has bits set beyond its 12 columns/);
  const wrong = numbers(1, 16);
  assert.throws(() => unpack([0x33, 0x3], wrong), /m\.shape\] its element 1 is 16, must be 12/);
});

/** sparse-bitmask knowing how many values m.weight stores. */
function storing(facts: WeightFacts) {
  return free.withFacts!(new Map([["m.weight", facts]]));
}

test("sparse-bitmask stores a known matrix byte for byte", () => {
  const rows = [
    [1, 2, 3, 4, 5, 6, 7, 8, 9],
    [0, 0, 0, 0, 0, 0, 0, 0, 0],
    [0, 0, -1, 0, 0, 0, 0, 0, -2],
  ];
  const weight: TensorEntry = { name: "m.weight", dtype: "F32", shape: [3, 9] };
  const bytes = bytesOf(rows.flat());
  const facts = free.measure!(weight, bytes);
  assert.equal(facts, { shape: [3, 9], values: 11 });
  const layout = storing(facts);
  assert.equal(layout.entries(weight), [
    { name: "m.compressed", dtype: "F32", shape: [11] },
    { name: "m.bitmask", dtype: "U8", shape: [3, 2] },
    { name: "m.row_offsets", dtype: "I64", shape: [3] },
    { name: "m.shape", dtype: "I64", shape: [2] },
  ]);
  const parts = layout.pack(weight, bytes);
  assert.equal(parts.get("m.compressed"), bytesOf([1, 2, 3, 4, 5, 6, 7, 8, 9, -1, -2]));
  assert.equal(parts.get("m.bitmask"), Uint8Array.from([0xff, 1, 0, 0, 4, 1]));
  assert.equal(parts.get("m.row_offsets"), numbers(0, 9, 9));
  assert.equal(parts.get("m.shape"), numbers(3, 9));
});

test("sparse-bitmask stores as many values as it was told of, and reads zeros that others store", () => {
  const weight: TensorEntry = { name: "m.weight", dtype: "F32", shape: [2, 4] };
  const bytes = bytesOf([0, 5, 0, 0, 0, 6, 0, 7]);
  const parts = new Map([
    ["m.compressed", bytesOf([0, 5, 0, 6, 7])],
    ["m.bitmask", Uint8Array.from([0b0111, 0b1010])],
    ["m.row_offsets", numbers(0, 3)],
    ["m.shape", numbers(2, 4)],
  ]);
  assert.equal(storing({ shape: [2, 4], values: 5 }).unpack(weight, parts), bytes);
  for (const values of [2, 5, 9]) {
    const wrong = storing({ shape: [2, 4], values });
    assert.throws(() => wrong.pack(weight, bytes), new RegExp(`3 non-zeros of 8, .* ${values}`));
  }
  assert.throws(() => free.entries(weight), /how many values sparse-bitmask stores/);
});

test("sparse-bitmask refuses parts that packing could not have made", () => {
  const weight: TensorEntry = { name: "m.weight", dtype: "F32", shape: [2, 4] };
  const layout = storing({ shape: [2, 4], values: 3 });
  const unpack = (mask: number[], offsets = numbers(0, 1), shape = numbers(2, 4)) =>
    layout.unpack(
      weight,
      new Map([
        ["m.compressed", bytesOf([1, 2, 3])],
        ["m.bitmask", Uint8Array.from(mask)],
        ["m.row_offsets", offsets],
        ["m.shape", shape],
      ]),
    );
  assert.equal(unpack([1, 6]), bytesOf([1, 0, 0, 0, 0, 2, 3, 0]));
  assert.throws(() => unpack([1, 14]), /m\.bitmask\] it has 4 bits set, but 3 values are stored/);
  assert.throws(() => unpack([1, 2]), /it has 2 bits set, but 3 values/);
  assert.throws(() => unpack([17, 6]), /row 0 has bits set beyond its 4 columns/);
  assert.throws(() => unpack([3, 4]), /m\.row_offsets\] its element 1 is 1, must be 2/);
  assert.throws(() => unpack([1, 6], undefined, numbers(4, 2)), /m\.shape\] its element 0 is 4/);
});

test("weights are named as compressed-tensors names them", () => {
  const weight: TensorEntry = { name: "m.kernel", dtype: "F32", shape: [4, 4] };
  for (const layout of [structured, free]) {
    assert.match(layout.refusal(weight) ?? "", /does not end in \.weight/);
    assert.match(layout.refusal({ ...weight, name: "m.weight", dtype: "F64" }) ?? "", /F64/);
    assert.match(
      layout.refusal({ ...weight, name: "m.weight", shape: [4] }) ?? "",
      /only a matrix/,
    );
    assert.match(layout.warning ?? "", /dropped it in early 2026.*prefer the layout dense/);
  }
  assert.match(
    structured.refusal({ name: "m.weight", dtype: "F32", shape: [4, 6] }) ?? "",
    /6 columns are not a multiple of 4/,
  );
});

test.run();
