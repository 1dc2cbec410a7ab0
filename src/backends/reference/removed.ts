import type { Operations } from "../../backend.js";
import { f32, type Tensor } from "../../tensor.js";
import type { RemovedOptions } from "../operations/removed.js";
import {
  columnLines,
  factorsOf,
  type Lines,
  rowLines,
  SMALLEST,
  writeScaleGradient,
} from "./lines.js";

/**
 * With I = w² s, T the sum of a line of n, L that of what the pattern removes and c = 1 there: the
 * loss is n L / T, and its slope by I is n (c - L / T) / T.
 */
function removed(w: Tensor, gradient: Tensor, lines: Lines, options: RemovedOptions): number {
  const { count, length, lineStep, step } = lines;
  const { keep, of } = options;
  const [ws, gs] = [f32(w), f32(gradient)];
  if (!options.accumulate) gs.fill(0);
  const factors = factorsOf(lines, options);
  const byFactor = new Float64Array(length);
  const importance = new Float64Array(length);
  const isRemoved = new Uint8Array(length);
  let sum = 0;
  for (let line = 0; line < count; line++) {
    const start = line * lineStep;
    let total = 0;
    for (let i = 0; i < length; i++) {
      importance[i] = ws[start + i * step] ** 2 * factors[i];
      total += importance[i];
    }
    if (total < SMALLEST) continue;
    isRemoved.fill(0);
    let lost = 0;
    for (let first = 0; first < length; first += of) {
      // Sorting is stable, so that the lowest goes first among equals.
      const order = Array.from({ length: of }, (_, i) => first + i);
      order.sort((a, b) => importance[a] - importance[b]);
      for (const i of order.slice(0, of - keep)) {
        isRemoved[i] = 1;
        lost += importance[i];
      }
    }
    const share = lost / total;
    sum += length * share;
    for (let i = 0; i < length; i++) {
      const byImportance = (length * (isRemoved[i] - share)) / total;
      const at = start + i * step;
      gs[at] += 2 * ws[at] * factors[i] * byImportance;
      byFactor[i] += ws[at] ** 2 * byImportance;
    }
  }
  writeScaleGradient(byFactor, factors, options);
  return sum;
}

export const removedRows: Operations["removedRows"] = async (w, gradient, options) =>
  removed(w, gradient, rowLines(w), options);

export const removedColumns: Operations["removedColumns"] = async (w, gradient, options) =>
  removed(w, gradient, columnLines(w), options);
