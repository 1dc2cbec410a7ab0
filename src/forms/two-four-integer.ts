/**
 * Products of 2:4 codes on a symmetric grid with int8 activations: exactly those of the dense leaf that has the
 * zero point's code where nothing is kept (integer.ts).
 */
import type { Form, Leaf, Numbers } from "../form.js";
import { middleOf } from "./grid.js";
import { type IntegerLeaf, isInteger, PANEL_ROWS, RUN_COLUMNS, runsOf } from "./integer.js";
import { nOfM } from "./n-of-m.js";
import { keepsTwoOfFour } from "./packed-grid.js";
import type { HostParts } from "./rules.js";

type Grid = Extract<Numbers, { kind: "grid" }>;

/** A 2:4 leaf on a symmetric grid whose groups are of whole runs. */
export type TwoFourIntegerLeaf<Part> = Leaf<Part> & {
  readonly numbers: Grid;
  readonly structure: { readonly kind: "n:m"; readonly n: number; readonly m: number };
};

/** The same leaf with a code in every place, whose parts are those of the other. */
export function withAllPlaces<Part>(leaf: Leaf<Part>): Leaf<Part> {
  return { ...leaf, structure: { kind: "dense" } };
}

/** Whether products with a form have int8 activations where these are asked for. */
export function isTwoFourInteger<Part>(form: Form<Part>): form is TwoFourIntegerLeaf<Part> {
  if (form.kind !== "leaf" || !keepsTwoOfFour(form)) return false;
  return form.numbers.kind === "grid" && form.numbers.symmetric && isInteger(withAllPlaces(form));
}

/** The codes of all places [rows, cols], row-major, from a leaf's parts on the host. */
export function codesInPlace(
  { shape, structure, numbers }: TwoFourIntegerLeaf<unknown>,
  parts: HostParts,
): Uint8Array {
  const codes = new Uint8Array(shape[0] * shape[1]).fill(middleOf(numbers));
  const place = nOfM.places(structure, shape, parts);
  parts.get("values")!.forEach((code, i) => {
    codes[place(i)] = code;
  });
  return codes;
}

/**
 * Bytes that such a leaf takes where it is held to be multiplied by: panels of `PANEL_ROWS` rows of whole runs,
 * half the codes at 4 bits where its bits allow and else at 8, a bit a weight for their places, and an f32 scale for
 * each group of a row.
 */
export function twoFourIntegerBytes(leaf: TwoFourIntegerLeaf<unknown>): number {
  const { runs, runsAGroup } = runsOf(withAllPlaces(leaf) as IntegerLeaf<unknown>);
  const rows = Math.ceil(leaf.shape[0] / PANEL_ROWS) * PANEL_ROWS;
  const codes = (runs * RUN_COLUMNS * ((leaf.numbers.bits <= 4 ? 2 : 4) + 1)) / 8;
  return rows * (codes + Math.ceil(runs / runsAGroup) * 4);
}
