/**
 * The layout `two-four-int`, version 1: weights that are both 2:4 and on a symmetric grid, in the tensors of
 * forms/packed-grid.ts: the codes that are kept, where they stood in the group codes of layouts/two-four.ts, and
 * a scale for every `groupSize` columns, those that went among them. Of b bits a weight takes b / 2 + 1 + 16 /
 * groupSize bits. Quantized weights that are not 2:4 are stored as grouped-int stores them, others dense.
 */
import { type Form, leavesOf } from "../form.js";
import { describe } from "../forms/leaf.js";
import { isPackedGrid, keepsTwoOfFour } from "../forms/packed-grid.js";
import type { Layout } from "../layout.js";
import { groupedInt } from "./grouped-int.js";

/** Of a scale as it is stored. */
const SCALE_BITS = 16;

export const twoFourInt: Layout = { ...groupedInt, name: "two-four-int" };

/** Whether a form, or a part of it, is stored as kept codes. */
export function holdsKeptCodes(form: Form<unknown>): boolean {
  return leavesOf(form).some((leaf) => isPackedGrid(leaf) && keepsTwoOfFour(leaf));
}

/** A dense grid to hold a 2:4 one against: of the same groups, and of as many bits or next fewer. */
export interface DensePeer {
  /** As in "dense x int3 by 32". */
  readonly held: string;
  readonly bitsPerWeight: number;
}

/** The peer of a weight that is stored as kept codes; undefined of others. */
export function densePeer(form: Form<unknown>): DensePeer | undefined {
  if (form.kind !== "leaf" || !holdsKeptCodes(form) || form.numbers.kind !== "grid")
    return undefined;
  const { shape, numbers } = form;
  const bits = Math.floor(numbers.bits / 2 + 1);
  const { groupSize = shape[1] } = numbers;
  return {
    held: describe({ ...form, structure: { kind: "dense" }, numbers: { ...numbers, bits } }),
    bitsPerWeight: bits + (SCALE_BITS * Math.ceil(shape[1] / groupSize)) / shape[1],
  };
}
