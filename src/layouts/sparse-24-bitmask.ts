/**
 * The layout `sparse-24-bitmask`, version 1, of compressed-tensors up to 0.14: a 2:4-sparse weight
 * P.weight [rows, cols], cols a multiple of 4, in three tensors:
 *
 *   P.shape        I64 [2, 1]                     rows, cols
 *   P.compressed   the weight's dtype [rows, cols/2]    the two slots of each group of 4
 *   P.bitmask      U8 [rows, ceil(cols/8)]        a bit for each column, set for the slots
 *
 *   columns of a row     0 1 2 3   4 5 6 7   8 9 ...
 *   byte 0 of bitmask    bit   7  6  5  4  3  2  1  0
 *                     column   7  6  5  4  3  2  1  0
 *                              group 1     group 0
 *
 * Two bits of each group are set. A group with fewer than two non-zeros stores zeros at its lowest
 * zero columns. When cols/4 is odd, the high half of a row's last byte is 0. config.json has a
 * quantization_config with sparsity_config.format "sparse-24-bitmask". A legacy layout: the programs
 * that read it dropped it in 2026.
 */
import { PenjingError } from "../errors.js";
import type { Layout, TensorEntry } from "../layout.js";
import { indexBytes } from "../pack.js";
import {
  BITMASK,
  BITMASK_WARNING,
  bitmaskRefusal,
  COMPRESSED,
  checkPaddingBits,
  expectInt64,
  int64,
  moduleOf,
  quantizationConfig,
  SHAPE,
  weightOfModule,
} from "./parts/bitmask.js";
import { groupRefusal, partBytes } from "./parts/elements.js";
import { findWeights, type PartNames } from "./parts/stored.js";
import { packSlots, refuse, unpackSlots } from "./parts/two-of-four.js";

const NAME = "sparse-24-bitmask";

/** The bits of a group by its code, and the code by its bits; 0 where there is none. */
const BITS = Uint8Array.from({ length: 16 }, (_, code) =>
  (code & 3) < code >> 2 ? (1 << (code & 3)) | (1 << (code >> 2)) : 0,
);
const CODES = Uint8Array.from({ length: 16 }, (_, bits) => Math.max(0, BITS.indexOf(bits || 255)));

function refusal(weight: TensorEntry): string | undefined {
  return bitmaskRefusal(weight, NAME) ?? groupRefusal(weight);
}

function entries(weight: TensorEntry): TensorEntry[] {
  const [rows, cols] = weight.shape;
  const module = moduleOf(weight);
  return [
    { name: module + COMPRESSED, dtype: weight.dtype, shape: [rows, cols / 2] },
    { name: module + BITMASK, dtype: "U8", shape: [rows, indexBytes(cols)] },
    { name: module + SHAPE, dtype: "I64", shape: [2, 1] },
  ];
}

const NAMES: PartNames = {
  lead: COMPRESSED,
  meaning: "the values of a 2:4 weight",
  others: [BITMASK, SHAPE],
  entries,
  weightOf({ dtype, shape }, module) {
    const weight = { name: weightOfModule(module), dtype, shape: [shape[0], 2 * shape[1]] };
    return shape.length === 2 && !refusal(weight) ? weight : undefined;
  },
};

/** The code of every group from its bits. */
function codesOf(part: TensorEntry, bitmask: Uint8Array, rows: number, cols: number): Uint8Array {
  checkPaddingBits(part, bitmask, rows, cols);
  const width = indexBytes(cols);
  return bitmask.map((byte, i) => {
    const groups = Math.min(2, cols / 4 - 2 * (i % width));
    const codes = [CODES[byte & 15], CODES[byte >> 4]].slice(0, groups);
    const bad = codes.indexOf(0);
    if (bad < 0) return codes[0] | ((codes[1] ?? 0) << 4);
    throw new PenjingError(
      part.name,
      `row ${Math.floor(i / width)}, group ${2 * (i % width) + bad} has not 2 bits set; the file is damaged.`,
    );
  });
}

export const sparse24Bitmask: Layout = {
  name: NAME,
  version: 1,
  holds: "2:4",
  byRows: false,
  warning: BITMASK_WARNING,
  configKeys: (left) => quantizationConfig(NAME, "2:4", 0.5, left),
  refusal,
  entries,
  pack(weight, bytes) {
    refuse(weight, refusal(weight));
    const { values, indices } = packSlots(weight, bytes);
    const [compressed, bitmask, shape] = entries(weight);
    return new Map([
      [compressed.name, values],
      [bitmask.name, indices.map((byte) => BITS[byte & 15] | (BITS[byte >> 4] << 4))],
      [shape.name, int64(weight.shape)],
    ]);
  },
  weights: (stored) => findWeights(stored, NAMES),
  unpack(weight, parts) {
    refuse(weight, refusal(weight));
    const all = entries(weight);
    const [values, bitmask, shape] = partBytes(weight, all, parts);
    expectInt64(all[2], shape, weight.shape);
    const [rows, cols] = weight.shape;
    const indices = codesOf(all[1], bitmask, rows, cols);
    return unpackSlots(weight, { values, indices }, all[1].name);
  },
};
