/**
 * Products with int8 activations: which forms have them, and what exactly they are, so that every kernel
 * of every backend gives the same bits.
 *
 * A token x [cols] is rounded in runs of 32 columns, the last of which may be shorter. With f32 arithmetic,
 * rounded after each operation,
 *
 *   s = max |x| / 127 of the run; x8 = min(127, max(-128, x / s rounded to the nearest whole number, to the
 *   even one between two)), or 0 where s is 0
 *
 * A row's sum over a run, of x8 times its codes less their zero point, is a whole number below 2^31. The
 * row's result begins with 0, and adds for each run, in their order, that sum times (t * s), t being the
 * scale of the weights there; and then the bias. So the result depends neither on how many tokens there are,
 * nor on threads, nor on the order within a run. Where a token holds NaN or infinity its result is NaN.
 */
import type { Form, Leaf, Numbers } from "../form.js";
import { middleOf } from "./grid.js";

/** How activations are multiplied: as floats, or rounded to int8. */
export type Activations = "float" | "int8";

/** Columns that share a scale of the activations. */
export const RUN_COLUMNS = 32;

type Grid = Extract<Numbers, { kind: "grid" }>;

/** A dense leaf on a grid whose groups are of whole runs. */
export type IntegerLeaf<Part> = Leaf<Part> & { readonly numbers: Grid };

/** Whether products with a form have int8 activations where these are asked for. */
export function isInteger<Part>(form: Form<Part>): form is IntegerLeaf<Part> {
  if (form.kind !== "leaf" || form.structure.kind !== "dense") return false;
  const { numbers, shape } = form;
  if (numbers.kind !== "grid") return false;
  const { groupSize = shape[1] } = numbers;
  return groupSize >= shape[1] || groupSize % RUN_COLUMNS === 0;
}

/** Runs of a row, and how many share a scale of the weights. */
export function runsOf({ numbers, shape }: IntegerLeaf<unknown>) {
  const runs = Math.ceil(shape[1] / RUN_COLUMNS);
  const { groupSize = shape[1] } = numbers;
  const isRow = groupSize >= shape[1];
  return { runs, runsAGroup: isRow ? Math.max(1, runs) : groupSize / RUN_COLUMNS };
}

/** Rows whose codes lie together where such a leaf is held. */
export const PANEL_ROWS = 4;

/** Bits that a code takes where such a leaf is held. */
export function heldBits(bits: number): number {
  return bits <= 4 ? bits : 8;
}

/**
 * Bytes that such a leaf takes where it is held to be multiplied by: panels of `PANEL_ROWS` rows of whole
 * runs, at as many bits a code as it has, or at 8 where these are more than 4, and for each group of a row a
 * scale and, where it is not symmetric, a byte of a zero point.
 *
 * @param scaleBytes 4 where scales are neither f16 nor bf16
 */
export function integerBytes(leaf: IntegerLeaf<unknown>, scaleBytes: 2 | 4 = 2): number {
  const { numbers, shape } = leaf;
  const { runs, runsAGroup } = runsOf(leaf);
  const rows = Math.ceil(shape[0] / PANEL_ROWS) * PANEL_ROWS;
  const codes = (runs * RUN_COLUMNS * heldBits(numbers.bits)) / 8;
  return rows * (codes + Math.ceil(runs / runsAGroup) * (scaleBytes + (numbers.symmetric ? 0 : 1)));
}

/** What is taken from codes and zero points so that they fit into int8; the zero point of a symmetric grid. */
export function offsetOf({ numbers }: IntegerLeaf<unknown>): number {
  return middleOf(numbers);
}
