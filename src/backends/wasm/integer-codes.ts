import type { Form, Leaf } from "../../form.js";
import { heldBits, isInteger, offsetOf, runsOf } from "../../forms/integer.js";
import { address, freeing, type Kernels } from "./kernels.js";

/** Codes in the panels of assembly/lib/integer-panel.ts. */
export interface IntegerCodes {
  readonly rows: number;
  readonly cols: number;
  /** That panels have: 8, 4, 3, 2 or 1. */
  readonly bits: number;
  /** Where the panels are, and how many bytes they take. */
  readonly w: number;
  readonly bytes: number;
  /**
   * What kernels are told after the rows: columns, runs that share a scale, whether there are no zero points, and
   * what scales are held as.
   */
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
  const bits = heldBits(numbers.bits);
  // A symmetric grid's zero point is 0 among 8 bits, and stays what it is among fewer.
  const offset = bits === 8 ? offsetOf(form) : 0;
  const scales = form.parts.get("scales")!;
  const scaleType = exports.integerScaleType(address(scales), scales.size);
  const shape = [cols, runsOf(form).runsAGroup, Number(numbers.symmetric), Number(scaleType)];
  const parts = ["values", "scales", "zeros"].map((name) => addressOf(form, name));
  const bytes = exports.integerBytes(bits, rows, ...shape);
  const w = storage.allocate(bytes);
  exports.integerPrepare(bits, ...parts, offset, rows, ...shape, w);
  return { rows, cols, bits, w, bytes, shape, dispose: freeing(kernels, w, bytes) };
}
