/**
 * The layout `two-four-int`, version 1: weights that are both 2:4 and on a symmetric grid, in the tensors of
 * forms/packed-grid.ts: the codes that are kept, where they stood in the group codes of layouts/two-four.ts, and
 * a scale for every `groupSize` columns, those that went among them. Of b bits a weight takes b / 2 + 1 + 16 /
 * groupSize bits. Quantized weights that are not 2:4 are stored as grouped-int stores them, others dense.
 */
import { type Form, leavesOf } from "../form.js";
import { isPackedGrid, keepsTwoOfFour } from "../forms/packed-grid.js";
import type { Layout } from "../layout.js";
import { groupedInt } from "./grouped-int.js";

export const twoFourInt: Layout = { ...groupedInt, name: "two-four-int" };

/** Whether a form, or a part of it, is stored as kept codes. */
export function holdsKeptCodes(form: Form<unknown>): boolean {
  return leavesOf(form).some((leaf) => isPackedGrid(leaf) && keepsTwoOfFour(leaf));
}
