/** What the layouts of 2:4 weights share: the two values of each group, and the group codes. */
import { PenjingError } from "../../errors.js";
import type { TensorEntry } from "../../layout.js";
import {
  checkTwoFourIndices,
  type GroupCodes,
  indexBytes,
  notTwoFour,
  packGroups,
  unpackGroups,
} from "../../pack.js";
import { bitsOf, elementBytes } from "./elements.js";

/** The two values of each group of a weight, and its group codes, as in layouts/two-four.ts. */
export interface Slots {
  /** The weight's dtype [rows, cols/2]. */
  readonly values: Uint8Array;
  /** [rows, ceil(cols/8)] */
  readonly indices: Uint8Array;
}

function valuesEntry({ name, dtype, shape: [rows, cols] }: TensorEntry): TensorEntry {
  return { name, dtype, shape: [rows, cols / 2] };
}

/**
 * @param weight a matrix of a dtype that is packed, with a multiple of 4 columns
 * @param codes where groups with fewer than two non-zeros store zeros. @default LOWEST_ZEROS
 * @throws PenjingError naming the first row and group with more than 2 non-zeros
 */
export function packSlots(weight: TensorEntry, bytes: Uint8Array, codes?: GroupCodes): Slots {
  const [rows, cols] = weight.shape;
  const bits = bitsOf(weight, bytes);
  const values = new Uint8Array((rows * cols * elementBytes(weight)) / 2);
  const indices = new Uint8Array(rows * indexBytes(cols));
  const slots = bitsOf(valuesEntry(weight), values);
  const bad = packGroups(bits, slots, indices, rows, cols, codes);
  if (bad >= 0) throw notTwoFour(weight.name, bad, cols);
  return { values, indices };
}

/**
 * @param where the tensor that held the codes, for messages
 * @throws PenjingError naming the first row and group whose code is none
 */
export function unpackSlots(
  weight: TensorEntry,
  { values, indices }: Slots,
  where: string,
): Uint8Array {
  const [rows, cols] = weight.shape;
  checkTwoFourIndices(where, indices, rows, cols);
  const bytes = new Uint8Array(rows * cols * elementBytes(weight));
  const slots = bitsOf(valuesEntry(weight), values);
  unpackGroups(slots, indices, bitsOf(weight, bytes), rows, cols);
  return bytes;
}

/** Refuses a weight with the sentence that a layout's `refusal` gives. */
export function refuse({ name }: TensorEntry, reason: string | undefined): void {
  if (reason) throw new PenjingError(name, reason);
}
