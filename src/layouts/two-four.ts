/**
 * The layout `two-four`, version 1: a 2:4-sparse weight NAME [rows, cols], cols a multiple of 4, in
 * two tensors that the kernels of every backend read.
 *
 *   NAME.two_four.values   the weight's dtype [rows, cols/2]      the two slots of each group
 *   NAME.two_four.indices  U8 [rows, ceil(cols/8)]                where they stood
 *
 *   columns of a row      0 1 2 3   4 5 6 7   8 9 ...
 *                         group 0   group 1   group 2 ...
 *   values of a row       a0 a1     b0 b1     c0 c1 ...
 *   byte 0 of indices     bits 7-6  5-4  3-2  1-0
 *                              b1   b0   a1   a0      the slot's column within its group
 *
 * The column of a group's first slot is lower than that of its second. A group with fewer than two
 * non-zeros stores zeros at its lowest zero columns. When cols/4 is odd, the high nibble of a row's
 * last byte is 0. Values keep the weight's bits; f16 and bf16 are never converted.
 */
import type { Layout, TensorEntry } from "../layout.js";
import { indexBytes } from "../pack.js";
import { groupRefusal, matrixRefusal, partBytes } from "./parts/elements.js";
import { findWeights, type PartNames } from "./parts/stored.js";
import { packSlots, refuse, unpackSlots } from "./parts/two-of-four.js";

const VALUES = ".two_four.values";
const INDICES = ".two_four.indices";

function refusal(weight: TensorEntry): string | undefined {
  return matrixRefusal(weight, ["F32", "F16", "BF16"], "2:4") ?? groupRefusal(weight);
}

function entries({ name, dtype, shape: [rows, cols] }: TensorEntry): TensorEntry[] {
  return [
    { name: name + VALUES, dtype, shape: [rows, cols / 2] },
    { name: name + INDICES, dtype: "U8", shape: [rows, indexBytes(cols)] },
  ];
}

const NAMES: PartNames = {
  lead: VALUES,
  meaning: "the values of a 2:4 weight",
  others: [INDICES],
  entries,
  weightOf({ dtype, shape }, name) {
    const weight = { name, dtype, shape: [shape[0], 2 * shape[1]] };
    return shape.length === 2 && !refusal(weight) ? weight : undefined;
  },
};

export const twoFour: Layout = {
  name: "two-four",
  version: 1,
  holds: "2:4",
  byRows: true,
  refusal,
  entries,
  pack(weight, bytes) {
    refuse(weight, refusal(weight));
    const { values, indices } = packSlots(weight, bytes);
    return new Map([
      [weight.name + VALUES, values],
      [weight.name + INDICES, indices],
    ]);
  },
  weights: (stored) => findWeights(stored, NAMES),
  unpack(weight, parts) {
    refuse(weight, refusal(weight));
    const [values, indices] = partBytes(weight, entries(weight), parts);
    return unpackSlots(weight, { values, indices }, weight.name + INDICES);
  },
};
