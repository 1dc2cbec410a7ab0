/**
 * Scales of grids whose levels are not all whole numbers of their bits, in the order of
 * assembly/lib/grid-levels.ts: sums in four lanes of float32, those of three levels in float64.
 */
import {
  type FitOptions,
  roundScale,
  SMALLEST_HALF,
  TABLE_ROUNDS,
  tableFactorsOf,
} from "../operations/fit-scales.js";
import { entryOf, fitGroup, type GridShape, type GroupScale, sumOf } from "./grid-values.js";

const { fround } = Math;

/**
 * Scale and zero point of a group of any grid without units, as `fitScales` says.
 *
 * @param x [n], 0 where the mask removes
 * @param omega [n]
 */
export function fitLevels(
  shape: GridShape,
  x: Float32Array,
  omega: Float32Array,
  isSymmetric: boolean,
  options: Pick<FitOptions, "bits" | "search" | "scaleType">,
): GroupScale {
  const { table, middle: zero } = shape;
  if (!table && shape.least === 0) return fitGroup(shape, x, omega, isSymmetric, options);
  const largest = x.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  if (largest === 0) return { scale: SMALLEST_HALF, zero };
  const scale = table
    ? fitTable(table, x, omega, largest, options)
    : roundScale(fitThree(x, omega, largest), options.scaleType);
  return { scale, zero };
}

/**
 * The scale of the levels -1, 0 and 1 with the least weighted error: for each k that the k largest weights are
 * not 0 it is their weighted mean, and then k is the one with the largest (sum of omega |x|)² / sum of omega.
 */
function fitThree(x: Float32Array, omega: Float32Array, largest: number): number {
  if (!Number.isFinite(largest)) return largest;
  const falling = [...x.keys()].sort((a, b) => Math.abs(x[b]) - Math.abs(x[a]) || a - b);
  let [sum, weight, best, scale] = [0, 0, 0, largest];
  for (const i of falling) {
    sum += omega[i] * Math.abs(x[i]);
    weight += omega[i];
    const gain = (sum * sum) / weight;
    if (!(gain > best)) continue;
    best = gain;
    scale = fround(sum / weight);
  }
  return scale;
}

/** The best scale of the levels of a table among the candidates, and then as its codes want it. */
function fitTable(
  table: Float32Array,
  x: Float32Array,
  omega: Float32Array,
  largest: number,
  { bits, search, scaleType }: Pick<FitOptions, "bits" | "search" | "scaleType">,
): number {
  const levelOf = (value: number, scale: number) => table[entryOf(table, fround(value / scale))];
  const errorOf = (scale: number) =>
    sumOf(x.length, (i) => {
      const gap = fround(fround(levelOf(x[i], scale) * scale) - x[i]);
      return fround(fround(omega[i] * gap) * gap);
    });
  const span = fround(largest / Math.max(-table[0], table[table.length - 1]));
  let best = roundScale(span, scaleType);
  let least = errorOf(best);
  const consider = (scale: number): boolean => {
    const error = errorOf(scale);
    if (!(error < least)) return false;
    least = error;
    best = scale;
    return true;
  };
  for (const factor of tableFactorsOf(bits, search)) {
    const scale = roundScale(fround(factor * span), scaleType);
    for (const sign of [1, -1]) consider(sign * scale);
  }
  for (let round = 0; round < TABLE_ROUNDS; round++) {
    const weighed = (i: number) => fround(omega[i] * levelOf(x[i], best));
    const linear = sumOf(x.length, (i) => fround(weighed(i) * x[i]));
    const square = sumOf(x.length, (i) => fround(weighed(i) * levelOf(x[i], best)));
    if (!consider(roundScale(fround(linear / square), scaleType))) break;
  }
  return best;
}
