import { colsOf, f32, rowsOf, type Tensor } from "../../tensor.js";
import type { EntropyOptions } from "../operations/entropy.js";

/** The smallest normal float32; importance below it is taken for zero. */
export const SMALLEST = 2 ** -126;

/** How to go through a matrix line by line: a line is what the importance is normalised over. */
export interface Lines {
  readonly count: number;
  readonly length: number;
  /** Distance in memory from line to line, and from element to element of a line. */
  readonly lineStep: number;
  readonly step: number;
}

export function rowLines(w: Tensor): Lines {
  return { count: rowsOf(w), length: colsOf(w), lineStep: colsOf(w), step: 1 };
}

export function columnLines(w: Tensor): Lines {
  return { count: colsOf(w), length: rowsOf(w), lineStep: 1, step: colsOf(w) };
}

/** What w² is multiplied by along a line. */
export function factorsOf({ length }: Lines, { scale, inverse }: EntropyOptions): Float64Array {
  const given = scale && f32(scale);
  return Float64Array.from({ length }, (_, i) => {
    if (!given) return 1;
    return inverse ? 1 / given[i] : given[i];
  });
}

/** Hands on the derivatives by the factors as derivatives by the scale, when they are asked for. */
export function writeScaleGradient(
  byFactor: Float64Array,
  factors: Float64Array,
  { inverse, scaleGradient, accumulate }: EntropyOptions,
): void {
  if (!scaleGradient) return;
  const out = f32(scaleGradient);
  for (let i = 0; i < out.length; i++) {
    const derivative = inverse ? -byFactor[i] * factors[i] ** 2 : byFactor[i];
    out[i] = derivative + (accumulate ? out[i] : 0);
  }
}
