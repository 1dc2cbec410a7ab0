import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type MatrixDType, packMatrix, unpackMatrix } from "../../src/index.js";
import { allLayouts, casesFor, sparseMatrix } from "./matrices.js";

const test = suite("layouts/matrix");

/** Bytes as the array that `unpackMatrix` gives for their dtype. */
function arrayOf(dtype: string, bytes: Uint8Array) {
  const { buffer } = bytes.slice();
  if (dtype === "F32") return new Float32Array(buffer);
  return dtype === "I8" ? new Int8Array(buffer) : new Uint16Array(buffer);
}

for (const [layout] of allLayouts) {
  test(`${layout}: a matrix alone goes in and comes back bit for bit`, () => {
    const find = new Map(allLayouts).get(layout)!;
    fc.assert(
      fc.property(casesFor(find), ({ weight: { dtype, shape }, bytes }) => {
        const [rows, cols] = shape;
        const weight = arrayOf(dtype, bytes);
        const packed = packMatrix(layout, { weight, rows, cols, dtype: dtype as MatrixDType });
        const back = unpackMatrix(packed);
        assert.equal([back.rows, back.cols, back.dtype], [rows, cols, dtype]);
        assert.is(back.weight.constructor, weight.constructor);
        assert.is(Buffer.compare(new Uint8Array(back.weight.buffer), bytes), 0);
      }),
      { numRuns: 20 },
    );
  });
}

test("parts are named by their endings, and numbers are rounded to the dtype", () => {
  const weight = new Float32Array(32 * 64);
  weight.set([0, 1.001, 0, -2]);
  const packed = packMatrix("cutlass", { weight, rows: 32, cols: 64, dtype: "BF16" });
  assert.equal(Object.keys(packed.parts).sort(), ["cutlass.meta", "cutlass.values"]);
  assert.equal(packed.parts["cutlass.values"].shape, [32, 32]);
  assert.is(packed.parts["cutlass.meta"].dtype, "I16");
  assert.equal(
    [...(unpackMatrix(packed).weight as Uint16Array)].slice(0, 4),
    [0, 0x3f80, 0, 0xc000],
  );
  const mask = packMatrix("sparse-bitmask", { weight, rows: 32, cols: 64 });
  assert.equal(mask.parts.compressed, {
    dtype: "F32",
    shape: [2],
    bytes: new Uint8Array(Float32Array.of(1.001, -2).buffer),
  });
  assert.is(packMatrix("dense", { weight, rows: 32, cols: 64 }).parts.weight.bytes.length, 8192);
});

test("padding is asked for by name", () => {
  const weight = new Int8Array(5 * 7);
  weight.set([1, 2, 0, 0, /**/ 0, 3, 4]);
  assert.throws(
    () => packMatrix("cutlass", { weight, rows: 5, cols: 7 }),
    /^\[packMatrix\] its shape \[5,7\] .* \[16,128\].*cutlass\+pad/,
  );
  const packed = packMatrix("cutlass+pad", { weight, rows: 5, cols: 7 });
  assert.equal([packed.dtype, packed.rows, packed.cols], ["I8", 5, 7]);
  assert.equal(packed.parts["cutlass.values"].shape, [16, 64]);
  assert.equal(unpackMatrix(packed).weight, weight);
});

test("what cannot be packed or unpacked is refused by the function's name", () => {
  const { weight, bytes } = sparseMatrix("F16", 64, 64);
  const bits = new Uint16Array(bytes.buffer);
  const [rows, cols] = weight.shape;
  const given = { weight: bits, rows, cols, dtype: "F16" as const };
  const full = new Float32Array(64 * 64);
  full.set([1, 2, 3], 64 * 9 + 8);
  const cases: [() => unknown, RegExp][] = [
    [() => packMatrix("two-for", given), /^\[packMatrix\] .* did you mean "two-four"/],
    [
      () => packMatrix("two-four", { ...given, dtype: undefined }),
      /Uint16Array of dtype undefined/,
    ],
    [() => packMatrix("two-four", { ...given, dtype: "I8" }), /Uint16Array of dtype I8; give a/],
    [() => packMatrix("two-four", { ...given, rows: 63 }), /4096 elements, must have rows \* cols/],
    [() => packMatrix("two-four", { ...given, rows: -64, cols: -64 }), /which are -64 and -64/],
    [() => packMatrix("two-four", { ...given, row: 64 } as typeof given), /"row" is not an option/],
    [() => packMatrix("two-four", { weight: full, rows, cols }), /\] row 9, group 2 \(columns 8/],
    [
      () => packMatrix("cusparselt-sm90", { weight: full, rows, cols }),
      /^\[packMatrix\] its dtype F32 cannot be stored for cuSPARSELt/,
    ],
  ];
  for (const [work, message] of cases) assert.throws(work, message);
  const packed = packMatrix("two-four", given);
  const { "two_four.indices": indices, ...rest } = packed.parts;
  const damaged = { ...indices, bytes: indices.bytes.with(0, 0) };
  assert.throws(() => unpackMatrix({ ...packed, parts: rest }), /^\[unpackMatrix\] .*both needed/);
  assert.throws(
    () => unpackMatrix({ ...packed, parts: { ...rest, "two_four.indices": damaged } }),
    /^\[unpackMatrix\] two_four\.indices: row 0, group 0 has the code 0/,
  );
  assert.throws(() => unpackMatrix({ ...packed, version: 2 }), /version 2 .* reads version 1/);
});

test.run();
