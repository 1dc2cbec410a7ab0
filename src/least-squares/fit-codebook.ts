/**
 * A code book of pairs that is fitted to a matrix: k-means in two dimensions over pairs of neighbouring weights,
 * each divided by the root mean square of its group (vector quantization: GPTVQ, arXiv 2402.15319, which has
 * a code book for each group of columns).
 */
import { nearestHalf } from "../backends/operations/fit-scales.js";
import { PAIR } from "../forms/pairs.js";
import { meanSize } from "../pairs/fit.js";
import { pacer } from "../run.js";
import { kMeans, type Places } from "./k-means.js";

/** Rounds of Lloyd's algorithm, at most. */
const ROUNDS = 50;
/** Pairs that are looked at, about. */
const MOST_PAIRS = 2 ** 17;

/** Points [n, 2], and what an error of each of their coordinates weighs, [n, 2]. */
export interface Points {
  readonly at: Float64Array;
  readonly weights: Float64Array;
}

/**
 * The code book of a matrix.
 *
 * @param w [rows, cols]
 * @param omega [cols], what an error in each column weighs
 * @param count entries, a square number
 * @returns [count, 2] as halves have them, of about the size of weights over the root mean square of their group
 */
export async function fitCodebook(
  w: Float32Array,
  omega: Float32Array,
  count: number,
  groupSize: number,
  signal: AbortSignal | undefined,
): Promise<Float32Array> {
  const points = gather(w, omega, groupSize);
  const levels = kMeans(coordinates(points), Math.sqrt(count));
  // Every level beside every other one: what a table has, to begin with.
  const start = Float64Array.from({ length: PAIR * count }, (_, i) => {
    const entry = Math.floor(i / PAIR);
    return levels[i % PAIR ? entry % levels.length : Math.floor(entry / levels.length)];
  });
  const book = Float32Array.from(await kMeansOfPairs(points, start, signal), nearestHalf);
  // Of a matrix of zeros.
  return book.some((value) => value !== 0) ? book : book.fill(1);
}

/** Pairs over the root mean square of their groups, some of each column; weighed as they are in the matrix. */
function gather(w: Float32Array, omega: Float32Array, groupSize: number): Points {
  const cols = omega.length;
  const [all, each] = [w.length / PAIR, cols / PAIR];
  let step = Math.max(1, Math.floor(all / MOST_PAIRS));
  while (step > 1 && commonFactor(step, each) > 1) step++;
  const [at, weights] = [0, 1].map(() => new Float64Array(PAIR * Math.ceil(all / step)));
  let found = 0;
  for (let pair = 0; pair < all; pair += step) {
    const row = Math.floor(pair / each) * cols;
    const col = PAIR * (pair % each);
    const first = col - (col % groupSize);
    const size = meanSize(w.subarray(row + first, row + Math.min(first + groupSize, cols)));
    // NaN and infinity show in the scales.
    if (!(size > 0 && size < Number.POSITIVE_INFINITY)) continue;
    for (let i = 0; i < PAIR; i++, found++) {
      at[found] = w[row + col + i] / size;
      weights[found] = omega[col + i] * size * size;
    }
  }
  return { at: at.subarray(0, found), weights: weights.subarray(0, found) };
}

function commonFactor(a: number, b: number): number {
  return b === 0 ? a : commonFactor(b, a % b);
}

/** All coordinates of points in rising order. */
function coordinates({ at, weights }: Points): Places {
  const rising = [...at.keys()].sort((a, b) => at[a] - at[b]);
  return {
    at: Float64Array.from(rising, (i) => at[i]),
    weights: Float64Array.from(rising, (i) => weights[i]),
  };
}

/**
 * Weighted k-means in two dimensions. A point between two clusters belongs to the first one, and a cluster
 * without points stays where it is.
 *
 * @param start [count, 2], where the clusters begin
 * @returns [count, 2]
 */
export async function kMeansOfPairs(
  { at, weights }: Points,
  start: Float64Array,
  signal: AbortSignal | undefined,
): Promise<Float64Array> {
  const clusters = start.slice();
  const rest = pacer(signal);
  let before = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    await rest();
    const [sums, totals] = [0, 1].map(() => new Float64Array(clusters.length));
    let error = 0;
    for (let i = 0; i < at.length; i += PAIR) {
      const x = at[i];
      const y = at[i + 1];
      const wx = weights[i];
      const wy = weights[i + 1];
      let best = 0;
      let least = Number.POSITIVE_INFINITY;
      for (let c = 0; c < clusters.length; c += PAIR) {
        const dx = x - clusters[c];
        const dy = y - clusters[c + 1];
        const own = wx * dx * dx + wy * dy * dy;
        if (!(own < least)) continue;
        least = own;
        best = c;
      }
      error += least;
      sums[best] += wx * x;
      sums[best + 1] += wy * y;
      totals[best] += wx;
      totals[best + 1] += wy;
    }
    totals.forEach((total, i) => {
      if (total > 0) clusters[i] = sums[i] / total;
    });
    if (!(error < before * (1 - 1e-5))) break;
    before = error;
  }
  return clusters;
}
