import { colsOf, f32, rowsOf, type Tensor } from "../../tensor.js";
import type { EntropyOptions } from "../operations/entropy.js";

/** The smallest normal float32; importance below it is taken for zero. */
export const SMALLEST = 2 ** -126;

/** How to go through a matrix line by line: a line is what the importance is normalised over. */
interface Lines {
  readonly count: number;
  readonly length: number;
  /** Distance in memory from line to line, and from element to element of a line. */
  readonly lineStep: number;
  readonly step: number;
}

export const linesOf = {
  rows: (w: Tensor): Lines => ({
    count: rowsOf(w),
    length: colsOf(w),
    lineStep: colsOf(w),
    step: 1,
  }),
  columns: (w: Tensor): Lines => ({
    count: colsOf(w),
    length: rowsOf(w),
    lineStep: 1,
    step: colsOf(w),
  }),
};

/** The loss of one line and its derivatives by importance; undefined when it adds nothing. */
export type LineLoss = (
  importance: Float64Array,
  total: number,
) => { readonly loss: number; slope(i: number): number } | undefined;

/** The sum of a loss over lines, importance being w² times the line's factors. */
export function sumOverLines(
  along: keyof typeof linesOf,
  w: Tensor,
  gradient: Tensor,
  options: EntropyOptions = {},
  lossOf: LineLoss,
): number {
  const { count, length, lineStep, step } = linesOf[along](w);
  const [ws, gs] = [f32(w), f32(gradient)];
  if (!options.accumulate) gs.fill(0);
  const factors = factorsOf(length, options);
  const byFactor = new Float64Array(length);
  const importance = new Float64Array(length);
  let sum = 0;
  for (let line = 0; line < count; line++) {
    const start = line * lineStep;
    let total = 0;
    for (let i = 0; i < length; i++) {
      importance[i] = ws[start + i * step] ** 2 * factors[i];
      total += importance[i];
    }
    const found = lossOf(importance, total);
    if (!found) continue;
    sum += found.loss;
    for (let i = 0; i < length; i++) {
      const byImportance = found.slope(i);
      if (byImportance === 0) continue;
      const at = start + i * step;
      gs[at] += 2 * ws[at] * factors[i] * byImportance;
      byFactor[i] += ws[at] ** 2 * byImportance;
    }
  }
  writeScaleGradient(byFactor, factors, options);
  return sum;
}

/** What w² is multiplied by along a line. */
export function factorsOf(length: number, { scale, inverse }: EntropyOptions): Float64Array {
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
