import type { Operations } from "../../backend.js";
import { f32, type Tensor } from "../../tensor.js";
import type { RoundingOptions } from "../operations/rounding.js";
import { factorsOf, linesOf, SMALLEST, writeScaleGradient } from "./lines.js";

/**
 * With h the sum of a group's factors, m its largest |w|, r = w / m, S = mean |r|^p and N = m S^(1/p):
 * the loss is h N², its slope by w is 2 h m S^(2/p - 1) r |r|^(p - 2) / g, and by each factor N².
 */
function sumOverGroups(
  along: keyof typeof linesOf,
  w: Tensor,
  gradient: Tensor,
  options: RoundingOptions,
): number {
  const { count, length, lineStep, step } = linesOf[along](w);
  const { groupSize, power } = options;
  const [ws, gs] = [f32(w), f32(gradient)];
  if (!options.accumulate) gs.fill(0);
  const factors = factorsOf(length, options);
  const byFactor = new Float64Array(length);
  let sum = 0;
  for (let line = 0; line < count; line++) {
    for (let first = 0; first < length; first += groupSize) {
      const size = Math.min(groupSize, length - first);
      const places = Array.from({ length: size }, (_, i) => line * lineStep + (first + i) * step);
      const largest = Math.max(...places.map((at) => Math.abs(ws[at])));
      if (largest < SMALLEST) continue;
      const ratios = places.map((at) => ws[at] / largest);
      const mean = ratios.reduce((all, r) => all + r ** power, 0) / size;
      const root = mean ** (2 / power);
      const square = largest ** 2 * root;
      const factor = factors.subarray(first, first + size).reduce((all, h) => all + h, 0);
      sum += factor * square;
      const slope = (2 * factor * largest * root) / (mean * size);
      for (const [i, at] of places.entries()) {
        gs[at] += slope * ratios[i] ** (power - 1);
        byFactor[first + i] += square;
      }
    }
  }
  writeScaleGradient(byFactor, factors, options);
  return sum;
}

export const roundingRows: Operations["roundingRows"] = async (w, gradient, options) =>
  sumOverGroups("rows", w, gradient, options);

export const roundingColumns: Operations["roundingColumns"] = async (w, gradient, options) =>
  sumOverGroups("columns", w, gradient, options);
