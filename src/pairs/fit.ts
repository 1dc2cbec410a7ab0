/** Scales of groups of pairs, and the nearest pairs with them. */
import type { Backend } from "../backend.js";
import { roundScale, SMALLEST_HALF } from "../backends/operations/fit-scales.js";
import { PAIR } from "../forms/pairs.js";
import { pacer } from "../run.js";
import { colsOf, rowsOf, type Tensor } from "../tensor.js";
import { type Metric, nearestPair, onHost, type PairOptions, type PairTensors } from "./pairs.js";

/** What the root mean square of a group is multiplied by for the scales that are tried, of either sign. */
const FACTORS = Array.from({ length: 33 }, (_, i) => 0.5 + 0.025 * i);
/** How often a scale is fitted to the codes that it gives, at most. */
const ROUNDS = 2;

/** The root mean square of some numbers. */
export function meanSize(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] ** 2;
  return Math.sqrt(sum / Math.max(1, values.length));
}

/**
 * The scale of a group with the least error among the candidates, and then as its codes want it.
 *
 * @param x the group's columns
 * @param metrics of each pair
 */
export function fitScale(
  book: Float32Array,
  x: Float64Array,
  metrics: readonly Metric[],
  { scaleType, search }: Pick<PairOptions, "scaleType" | "search">,
): number {
  const size = meanSize(x);
  if (size === 0) return SMALLEST_HALF;
  /** What a scale costs, and the scale that would cost its codes the least. */
  const judge = (scale: number) => {
    let error = 0;
    let linear = 0;
    let square = 0;
    for (let i = 0; i < metrics.length; i++) {
      const a = x[PAIR * i];
      const b = x[PAIR * i + 1];
      const at = PAIR * nearestPair(book, scale, a, b, metrics[i]);
      const p = book[at];
      const q = book[at + 1];
      const { xx, xy, yy } = metrics[i];
      const dx = a - scale * p;
      const dy = b - scale * q;
      error += xx * dx * dx + 2 * xy * dx * dy + yy * dy * dy;
      linear += xx * p * a + xy * (p * b + q * a) + yy * q * b;
      square += xx * p * p + 2 * xy * p * q + yy * q * q;
    }
    return { error, wanted: linear / square };
  };
  let best = roundScale(size, scaleType);
  let found = judge(best);
  const consider = (scale: number): boolean => {
    const other = judge(scale);
    if (!(other.error < found.error)) return false;
    found = other;
    best = scale;
    return true;
  };
  for (const factor of search ? FACTORS : []) {
    const scale = roundScale(factor * size, scaleType);
    for (const sign of [1, -1]) consider(sign * scale);
  }
  for (let round = 0; round < ROUNDS; round++) {
    if (!consider(roundScale(found.wanted, scaleType))) break;
  }
  return best;
}

/**
 * Puts a matrix in pairs: the scale of each group with the least error, and the nearest pairs.
 *
 * @param w [R, C]
 * @param omega [C], what an error in each column weighs
 * @param grid codes and scales are written
 */
export async function fitPairs(
  backend: Backend,
  w: Tensor,
  omega: Tensor,
  grid: PairTensors,
  options: PairOptions,
): Promise<void> {
  const [rows, cols] = [rowsOf(w), colsOf(w)];
  const { groupSize, signal } = options;
  const host = await onHost(backend, grid, groupSize);
  const values = (await backend.read(w)) as Float32Array;
  const weights = (await backend.read(omega)) as Float32Array;
  const metrics = Array.from({ length: cols / PAIR }, (_, i): Metric => {
    return { xx: weights[PAIR * i], xy: 0, yy: weights[PAIR * i + 1] };
  });
  const rest = pacer(signal);
  for (let row = 0; row < rows; row++) {
    await rest();
    for (let first = 0; first < cols; first += groupSize) {
      const end = Math.min(cols, first + groupSize);
      const x = Float64Array.from(values.subarray(row * cols + first, row * cols + end));
      const own = metrics.slice(first / PAIR, end / PAIR);
      const scale = fitScale(host.book, x, own, options);
      host.scales[host.scaleAt(row, first)] = scale;
      for (const [i, metric] of own.entries()) {
        const code = nearestPair(host.book, scale, x[PAIR * i], x[PAIR * i + 1], metric);
        host.codes[host.codeAt(row, first + PAIR * i)] = code;
      }
    }
  }
  host.store();
}
