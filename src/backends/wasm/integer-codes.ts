import type { Form, Leaf } from "../../form.js";
import { isInteger, offsetOf, runsOf } from "../../forms/integer.js";
import { address, freeing, type Kernels } from "./kernels.js";

/** Codes in the panels of assembly/lib/integer-panel.ts. */
export interface IntegerCodes {
  readonly rows: number;
  readonly cols: number;
  /** That panels have: 8 or 4. */
  readonly bits: number;
  /** Where the panels are, and how many bytes they take. */
  readonly w: number;
  readonly bytes: number;
  /** What kernels are told after the rows: columns, runs that share a scale, and whether there are zero points. */
  readonly shape: readonly number[];
  dispose(): void;
}

function addressOf({ parts }: Leaf, name: string): number {
  const part = parts.get(name);
  return part ? address(part) : 0;
}

/** A leaf in the form that the kernels of codes read; undefined for other forms. */
export function prepareCodes(kernels: Kernels, form: Form): IntegerCodes | undefined {
  if (!isInteger(form)) return undefined;
  const { exports, storage } = kernels;
  const [rows, cols] = form.shape;
  const { numbers } = form;
  const bits = numbers.bits <= 4 ? 4 : 8;
  // A symmetric grid's zero point is 0 among 8 bits, and 8 among 4.
  const offset = offsetOf(form) - (bits === 8 ? 0 : 8);
  const shape = [cols, runsOf(form).runsAGroup, Number(numbers.symmetric)];
  const parts = ["values", "scales", "zeros"].map((name) => addressOf(form, name));
  const bytes = exports.integerBytes(bits, rows, ...shape);
  const w = storage.allocate(bytes);
  exports.integerPrepare(bits, ...parts, offset, rows, ...shape, w);
  return { rows, cols, bits, w, bytes, shape, dispose: freeing(kernels, w, bytes) };
}
