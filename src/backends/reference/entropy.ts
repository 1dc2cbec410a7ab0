import type { Operations } from "../../backend.js";
import { f32, type Tensor } from "../../tensor.js";
import type { EntropyOptions } from "../operations/entropy.js";
import {
  columnLines,
  factorsOf,
  type Lines,
  rowLines,
  SMALLEST,
  writeScaleGradient,
} from "./lines.js";

/**
 * With I = w² s, T the sum of a line and p = I / T: E = -sum p log p and dE/dI = -(log p + E) / T.
 */
function entropy(w: Tensor, gradient: Tensor, lines: Lines, options: EntropyOptions = {}): number {
  const { count, length, lineStep, step } = lines;
  const [ws, gs] = [f32(w), f32(gradient)];
  if (!options.accumulate) gs.fill(0);
  const factors = factorsOf(lines, options);
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
  writeScaleGradient(byFactor, factors, options);
  return sum;
}

export const entropyRows: Operations["entropyRows"] = async (w, gradient, options) =>
  entropy(w, gradient, rowLines(w), options);

export const entropyColumns: Operations["entropyColumns"] = async (w, gradient, options) =>
  entropy(w, gradient, columnLines(w), options);
