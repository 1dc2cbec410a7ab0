import { suite } from "uvu";
import * as assert from "uvu/assert";
import { LAYOUT_KEY, type Layout, type TensorEntry } from "../../src/layout.js";
import { findLayout, layoutMetadata } from "../../src/layouts/index.js";
import { reopened, sparseMatrix } from "./matrices.js";

const test = suite("layouts/nvidia");

const cutlass = findLayout("cutlass");
const sm80 = findLayout("cusparselt-sm80");
const sm90 = findLayout("cusparselt-sm90");

/** Metadata of a matrix of zeros but for the columns 2 and 3 of one row, against one of zeros alone. */
function changedBytes(layout: Layout, part: string, shape: readonly number[], at: number[]) {
  const weight: TensorEntry = { name: "w", dtype: "F16", shape };
  const [row, col] = at;
  const bits = new Uint16Array(shape[0] * shape[1]);
  const pack = () => layout.pack(weight, new Uint8Array(bits.buffer)).get(part)!;
  const zeros = pack();
  // Columns 0 and 3 of the group: the code 12, which no group of zeros has.
  bits.fill(7, row * shape[1] + col, row * shape[1] + col + 1);
  bits.fill(7, row * shape[1] + col + 3, row * shape[1] + col + 4);
  const changed = pack();
  const skip = layout === cutlass ? 0 : shape[0] * shape[1];
  const places: [number, number][] = [];
  changed.subarray(skip).forEach((byte, i) => {
    const before = zeros[skip + i];
    if ((byte & 15) !== (before & 15)) places.push([2 * i, byte & 15]);
    if (byte >> 4 !== before >> 4) places.push([2 * i + 1, byte >> 4]);
  });
  return places;
}

test("cutlass: the words of 4 groups stand where the diagram says", () => {
  // Row and column, then the word's number and the group within it.
  const cases: [[number, number], number, number][] = [
    [[0, 0], 0, 0],
    [[0, 12], 0, 3],
    [[8, 0], 1, 0],
    [[0, 16], 2, 0],
    [[8, 16], 3, 0],
    [[16, 0], 4, 0],
    [[24, 16], 7, 0],
    [[1, 0], 8, 0],
    [[32, 4], 64, 1],
    [[0, 32], 2 * 64, 0],
    [[63, 60], 2 * 64 + 2 * 63 + 1, 3],
  ];
  for (const [at, word, group] of cases) {
    const places = changedBytes(cutlass, "w.cutlass.meta", [64, 64], at);
    assert.equal(places, [[4 * word + group, 12]], `row ${at[0]}, column ${at[1]}`);
  }
});

test("cusparselt-sm80: the words stand where the diagram says", () => {
  const cases: [[number, number], number, number][] = [
    [[0, 0], 0, 0],
    [[0, 8], 0, 2],
    [[8, 0], 1, 0],
    [[0, 16], 2, 0],
    [[16, 0], 4, 0],
    [[1, 0], 8, 0],
    [[32, 0], 64, 0],
    [[0, 32], 256, 0],
    [[128, 0], 512, 0],
    [[0, 64], 2 * 512, 0],
    [[255, 127], 4 * 512 - 1, 3],
  ];
  for (const [[row, col], word, group] of cases) {
    const at = [row, col - (col % 4)];
    const places = changedBytes(sm80, "w.cusparselt_sm80", [256, 128], at);
    assert.equal(places, [[4 * word + group, 12]], `row ${row}, column ${col}`);
  }
});

test("cusparselt-sm90: the bytes stand where the diagram says", () => {
  const cases: [[number, number], number, number][] = [
    [[0, 0], 0, 0],
    [[8, 0], 0, 1],
    [[0, 16], 1, 0],
    [[0, 4], 2, 0],
    [[1, 0], 8, 0],
    [[16, 0], 64, 0],
    [[0, 32], 256, 0],
    [[64, 0], 8 * 128, 0],
    [[127, 124], 2 * 8 * 128 - 1, 1],
  ];
  for (const [at, byte, half] of cases) {
    const places = changedBytes(sm90, "w.cusparselt_sm90", [128, 128], at);
    assert.equal(places, [[2 * byte + half, 12]], `row ${at[0]}, column ${at[1]}`);
  }
});

test("groups with fewer than two non-zeros store zeros where PyTorch does for CUTLASS", () => {
  // Non-zeros of a group, the code for CUTLASS and the code of the others.
  const cases: [number[], number, number][] = [
    [[], 14, 4],
    [[0], 8, 4],
    [[1], 9, 4],
    [[2], 14, 8],
    [[3], 14, 12],
    [[1, 3], 13, 13],
  ];
  for (const [places, forCutlass, others] of cases) {
    const bits = new Uint16Array(128 * 128);
    for (const place of places) bits[place] = 0x3c00;
    const weight: TensorEntry = { name: "w", dtype: "F16", shape: [128, 128] };
    const bytes = new Uint8Array(bits.buffer);
    assert.is(cutlass.pack(weight, bytes).get("w.cutlass.meta")![0] & 15, forCutlass);
    for (const layout of [sm80, sm90]) {
      const [buffer] = layout.pack(weight, bytes).values();
      assert.is(buffer[128 * 128] & 15, others);
    }
  }
});

test("codes that no packing makes are refused by row and group", () => {
  const { weight, bytes } = sparseMatrix("BF16", 128, 128);
  const cases: [Layout, string, number, RegExp][] = [
    [cutlass, "m.weight.cutlass.meta", 2, /cutlass\.meta\] row 8, group 0 has the code 5/],
    [sm80, "m.weight.cusparselt_sm80", 128 * 128 + 2, /cusparselt_sm80\] row 8, group 0 has the/],
    [sm90, "m.weight.cusparselt_sm90", 128 * 128 + 2, /cusparselt_sm90\] row 0, group 1 has the/],
  ];
  for (const [layout, name, at, message] of cases) {
    const parts = new Map(layout.pack(weight, bytes));
    const damaged = parts.get(name)!.slice();
    damaged[at] = (damaged[at] & 0xf0) | 5;
    assert.throws(() => layout.unpack(weight, parts.set(name, damaged)), message);
  }
});

test("shapes that are not whole tiles are refused with the nearest that are", () => {
  const refused = (layout: Layout, shape: number[], dtype: TensorEntry["dtype"] = "F16") =>
    layout.refusal({ name: "w", dtype, shape }) ?? "accepted";
  assert.is(refused(cutlass, [32, 64]), "accepted");
  assert.is(refused(cutlass, [16, 128], "I8"), "accepted");
  assert.is(refused(sm80, [128, 256]), "accepted");
  assert.is(refused(sm90, [64, 128], "BF16"), "accepted");
  assert.match(
    refused(cutlass, [33, 64]),
    /^its shape \[33,64\] is not whole tiles of 32 rows and 64 columns; the nearest that is, \[64,64\], is what the layout cutlass\+pad stores/,
  );
  assert.match(refused(cutlass, [16, 64], "I8"), /16 rows and 128 columns; .* \[16,128\]/);
  assert.match(refused(cutlass, [0, 64]), /\[32,64\]/);
  assert.match(refused(sm80, [64, 64]), /128 rows and 128 columns; .* \[128,128\].*sm80\+pad/);
  assert.match(refused(sm90, [96, 64]), /64 rows and 64 columns; .* \[128,64\].*sm90\+pad/);
  assert.match(refused(cutlass, [32]), /only a matrix can be stored for CUTLASS/);
  assert.match(refused(cutlass, [32, 64], "F32"), /F32 cannot be stored for CUTLASS, only F16/);
  for (const layout of [sm80, sm90]) {
    assert.match(refused(layout, [128, 128], "I8"), /I8 .* only F16 and BF16/);
  }
});

test("padding stores the next whole tiles, and the shape in the metadata", () => {
  const padded = findLayout("cutlass+pad");
  const { weight, bytes } = sparseMatrix("F16", 33, 66);
  assert.is(padded.refusal(weight), undefined);
  assert.equal(padded.entries(weight), [
    { name: "m.weight.cutlass.values", dtype: "F16", shape: [64, 64] },
    { name: "m.weight.cutlass.meta", dtype: "I16", shape: [64, 8] },
  ]);
  const fits = sparseMatrix("F16", 32, 64, { name: "fits.weight" }).weight;
  const mark = JSON.parse(layoutMetadata(padded, [weight, fits])[LAYOUT_KEY]);
  assert.equal(mark.weights, { "m.weight": { shape: [33, 66] } });
  // Padded, it is what the plain layout makes of the padded matrix.
  const whole = new Uint8Array(64 * 128 * 2);
  for (let row = 0; row < 33; row++) {
    whole.set(bytes.subarray(row * 132, (row + 1) * 132), row * 256);
  }
  const expected = cutlass.pack({ ...weight, shape: [64, 128] }, whole);
  for (const [name, part] of padded.pack(weight, bytes)) {
    assert.is(Buffer.compare(part, expected.get(name)!), 0, name);
  }
  // A file without facts is read as unpadded.
  assert.equal(reopened(padded, fits).weights(padded.entries(fits)), [fits]);
});

test("a file whose padding or facts lie is refused", () => {
  const padded = findLayout("cusparselt-sm90+pad");
  const { weight, bytes } = sparseMatrix("BF16", 60, 64);
  const file = (name: string, shape: [number, number]) =>
    padded.withFacts!(new Map([[name, { shape }]]));
  const entries = padded.entries(weight);
  assert.equal(file("m.weight", [60, 64]).weights(entries), [weight]);
  assert.throws(
    () => file("m.weight", [65, 64]).weights(entries),
    /stored as \[64,64\], which is not how \[65,64\] is padded/,
  );
  assert.throws(() => file("other.weight", [60, 64]).weights(entries), /\[other\.weight\] .*names/);
  const full = sparseMatrix("BF16", 64, 64);
  const parts = sm90.pack(full.weight, full.bytes);
  assert.throws(() => padded.unpack(weight, parts), /values in its padding/);
  const good = padded.pack(weight, bytes);
  assert.is(Buffer.compare(padded.unpack(weight, good), bytes), 0);
});

test.run();
