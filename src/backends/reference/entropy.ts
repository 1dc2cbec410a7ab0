import type { EntropyOptions, Operations } from "../../backend.js";
import { colsOf, f32, rowsOf, type Tensor } from "../../tensor.js";

/** The smallest normal float32; importance below it is taken for zero. */
const SMALLEST = 2 ** -126;

/** How to go through a matrix line by line: a line is what the importance is normalised over. */
interface Lines {
  readonly count: number;
  readonly length: number;
  /** Distance in memory from line to line, and from element to element of a line. */
  readonly lineStep: number;
  readonly step: number;
}

/**
 * With I = w² s, T the sum of a line and p = I / T: E = -sum p log p and dE/dI = -(log p + E) / T.
 */
function entropy(
  w: Tensor,
  gradient: Tensor,
  { count, length, lineStep, step }: Lines,
  { scale, inverse = false, scaleGradient, accumulate = false }: EntropyOptions = {},
): number {
  const [ws, gs] = [f32(w), f32(gradient)];
  if (!accumulate) gs.fill(0);
  const given = scale && f32(scale);
  const factors = Float64Array.from({ length }, (_, i) => {
    if (!given) return 1;
    return inverse ? 1 / given[i] : given[i];
  });
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
    if (total === 0) continue;
    let lineEntropy = 0;
    for (let i = 0; i < length; i++) {
      const p = importance[i] / total;
      if (!(p < SMALLEST)) lineEntropy -= p * Math.log(p);
    }
    sum += lineEntropy;
    for (let i = 0; i < length; i++) {
      const p = importance[i] / total;
      if (p < SMALLEST) continue;
      const byImportance = -(Math.log(p) + lineEntropy) / total;
      const at = start + i * step;
      gs[at] += 2 * ws[at] * factors[i] * byImportance;
      byFactor[i] += ws[at] ** 2 * byImportance;
    }
  }
  if (scaleGradient) {
    const out = f32(scaleGradient);
    for (let i = 0; i < length; i++) {
      const derivative = inverse ? -byFactor[i] * factors[i] ** 2 : byFactor[i];
      out[i] = derivative + (accumulate ? out[i] : 0);
    }
  }
  return sum;
}

export const entropyRows: Operations["entropyRows"] = async (w, gradient, options) => {
  const [rows, cols] = [rowsOf(w), colsOf(w)];
  return entropy(w, gradient, { count: rows, length: cols, lineStep: cols, step: 1 }, options);
};

export const entropyColumns: Operations["entropyColumns"] = async (w, gradient, options) => {
  const [rows, cols] = [rowsOf(w), colsOf(w)];
  return entropy(w, gradient, { count: cols, length: rows, lineStep: 1, step: cols }, options);
};
