import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fromFloat32, toFloat32 } from "../../src/checkpoint/dtype.js";
import { refused } from "./crafted.js";

const test = suite("dtype");

/** Float bits of a binary16, from the definition. */
function halfValue(h: number): number {
  const sign = h & 0x8000 ? -1 : 1;
  const exponent = (h >> 10) & 31;
  const fraction = h & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return exponent === 0
    ? sign * fraction * 2 ** -24
    : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

const bytesOf = (array: { buffer: ArrayBufferLike; byteOffset: number; byteLength: number }) =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

test("every F16 and BF16 value is decoded exactly and encoded back", () => {
  const bits = Uint16Array.from({ length: 65536 }, (_, i) => i);
  for (const dtype of ["F16", "BF16"] as const) {
    const values = toFloat32({ name: "t", dtype }, bytesOf(bits));
    const asBits = new Uint32Array(values.buffer);
    const back = new Uint16Array(fromFloat32(dtype, values).buffer);
    for (let i = 0; i < 65536; i++) {
      if (dtype === "F16") assert.ok(Object.is(values[i], halfValue(i)), `F16 ${i}`);
      else assert.is(asBits[i], i * 65536, `BF16 ${i}`);
      if (Number.isNaN(values[i])) {
        assert.ok(Number.isNaN(toFloat32({ name: "t", dtype }, bytesOf(back.slice(i, i + 1)))[0]));
      } else assert.is(back[i], i, `${dtype} ${i}`);
    }
  }
});

test("f32 values are rounded to the nearest F16 and BF16, ties to even", () => {
  const halves = (dtype: "F16" | "BF16", value: number): number =>
    new Uint16Array(fromFloat32(dtype, Float32Array.of(value)).buffer)[0];
  assert.is(halves("F16", 65519.99), 0x7bff);
  assert.is(halves("F16", 65520), 0x7c00);
  assert.is(halves("F16", -1e9), 0xfc00);
  assert.is(halves("F16", 2 ** -25), 0, "a tie with zero");
  assert.is(halves("F16", 2 ** -25 * 1.001), 1);
  assert.is(halves("F16", 3 * 2 ** -25), 2, "a tie with an odd neighbour");
  assert.is(halves("F16", 2 ** -14 - 2 ** -26), 0x400, "a subnormal that rounds up to a normal");
  assert.is(halves("F16", -0), 0x8000);
  assert.is(halves("BF16", 3.4e38), 0x7f80);
  assert.is(halves("BF16", 1 + 2 ** -8), 0x3f80, "a tie with an even neighbour below");
  assert.is(halves("BF16", 1 + 3 * 2 ** -8), 0x3f82, "a tie with an even neighbour above");
  const finite = fc
    .integer({ min: 0, max: 0xffffffff })
    .map((u) => new Float32Array(Uint32Array.of(u).buffer)[0]);
  const decode = (dtype: "F16" | "BF16", half: number): number =>
    toFloat32({ name: "t", dtype }, bytesOf(Uint16Array.of(half)))[0];
  fc.assert(
    fc.property(finite, fc.double({ min: -70000, max: 70000, noNaN: true }), (raw, scaled) => {
      for (const dtype of ["F16", "BF16"] as const) {
        for (const value of [raw, Math.fround(scaled), Math.fround(scaled * 1e-7)]) {
          if (!Number.isFinite(value)) continue;
          const half = halves(dtype, value);
          const got = decode(dtype, half);
          if (!Number.isFinite(got)) {
            const limit = dtype === "F16" ? 65520 : 2 ** 128 - 2 ** 119;
            assert.ok(Math.abs(value) >= limit);
            continue;
          }
          const error = Math.abs(value - got);
          for (const neighbour of [half - 1, half + 1]) {
            const other = decode(dtype, neighbour & 0xffff);
            if (Math.sign(other) * Math.sign(got) < 0 || !Number.isFinite(other)) continue;
            const distance = Math.abs(value - other);
            assert.ok(
              error < distance || (error === distance && half % 2 === 0),
              `${dtype} ${value}`,
            );
          }
        }
      }
    }),
    { numRuns: 2000 },
  );
});

test("F32 and F64 convert, unaligned bytes included, and integers are refused", async () => {
  const odd = new Uint8Array(17).subarray(1);
  odd.set(bytesOf(Float32Array.of(1.5, -0, Number.NaN, 3e-45)));
  assert.equal(
    [...toFloat32({ name: "t", dtype: "F32" }, odd)],
    [1.5, -0, Number.NaN, Math.fround(3e-45)],
  );
  odd.set(bytesOf(Float64Array.of(0.1, 1e300)));
  assert.equal(
    [...toFloat32({ name: "t", dtype: "F64" }, odd)],
    [Math.fround(0.1), Number.POSITIVE_INFINITY],
  );
  const view = Float32Array.of(9, 0.1, 2).subarray(1);
  assert.equal([...new Float64Array(fromFloat32("F64", view).buffer)], [Math.fround(0.1), 2]);
  assert.equal([...new Float32Array(fromFloat32("F32", view).buffer)], [Math.fround(0.1), 2]);
  await refused(() => toFloat32({ name: "ids", dtype: "I64" }, new Uint8Array(8)), /\[ids\].*I64/);
  await refused(() => toFloat32({ name: "t", dtype: "F4" }, new Uint8Array(8)), /F4/);
  await refused(() => toFloat32({ name: "t", dtype: "F32" }, new Uint8Array(7)), /whole number/);
  await refused(() => fromFloat32("U8", view), /F32, F16, BF16 or F64/);
});

test.run();
