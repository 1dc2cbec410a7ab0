// Entropies of importance I = w^2 s normalised over the lines of a matrix, and their derivatives;
// with T the sum of a line and p = I / T: E = -sum p log p, dE/dI = -(log p + E) / T.
//
// Lines are gone through three times: for T, for E, for the derivatives. The logarithm is computed
// twice rather than stored. Sums over lines are kept in f64. Where p is no normal number all terms
// are zero. Columns are gone through row by row with their sums in scratch memory.

import { columnEntropies, columnGradient, columnTotals } from "../lib/entropy-column";
import { inverseOf, rowEntropy, rowGradient, rowTotal } from "../lib/entropy-row";
import { paddedDoubles } from "../lib/lanes";

/**
 * Rows of w [rows, cols]. `factors` [cols] f32 and `byFactor` [cols] f64, which takes sums of
 * w^2 dE/dI, are padded to a multiple of 4; `byFactor` may be 0.
 *
 * @returns the sum of the rows' entropies
 */
export function entropyRows(
  rows: i32,
  cols: i32,
  w: usize,
  factors: usize,
  gradient: usize,
  byFactor: usize,
  accumulate: bool,
): f64 {
  if (byFactor) memory.fill(byFactor, 0, paddedDoubles(cols));
  const step = <usize>cols << 2;
  let sum: f64 = 0;
  for (let row = 0; row < rows; row++) {
    const inverse = inverseOf(rowTotal(cols, w, factors));
    const entropy = rowEntropy(cols, w, factors, inverse);
    rowGradient(cols, w, factors, gradient, byFactor, inverse, <f32>entropy, accumulate);
    sum += entropy;
    w += step;
    gradient += step;
  }
  return sum;
}

export function entropyColumnsScratch(cols: i32): usize {
  return 3 * paddedDoubles(cols);
}

/**
 * Columns of w [rows, cols]. `factors` [rows] f32; `byFactor` [rows] f64 takes sums of w^2 dE/dI,
 * and may be 0.
 *
 * @returns the sum of the columns' entropies
 */
export function entropyColumns(
  rows: i32,
  cols: i32,
  w: usize,
  factors: usize,
  gradient: usize,
  byFactor: usize,
  accumulate: bool,
  scratch: usize,
): f64 {
  const bytes = paddedDoubles(cols);
  const entropies = scratch + bytes;
  const inverses = entropies + bytes;
  const narrowed = inverses + (bytes >> 1);
  const step = <usize>cols << 2;
  memory.fill(scratch, 0, 3 * bytes);
  for (let row = 0; row < rows; row++) {
    const factor = load<f32>(factors + (<usize>row << 2));
    columnTotals(cols, w + <usize>row * step, factor, scratch);
  }
  for (let j: usize = 0; j < <usize>cols; j++) {
    store<f32>(inverses + (j << 2), inverseOf(load<f64>(scratch + (j << 3))));
  }
  for (let row = 0; row < rows; row++) {
    const factor = load<f32>(factors + (<usize>row << 2));
    columnEntropies(cols, w + <usize>row * step, factor, inverses, entropies);
  }
  let sum: f64 = 0;
  for (let j: usize = 0; j < <usize>cols; j++) {
    const entropy = load<f64>(entropies + (j << 3));
    store<f32>(narrowed + (j << 2), <f32>entropy);
    sum += entropy;
  }
  for (let row = 0; row < rows; row++) {
    const factor = load<f32>(factors + (<usize>row << 2));
    const at = <usize>row * step;
    const slopes = columnGradient(cols, w + at, factor, inverses, narrowed, gradient + at, accumulate);
    if (byFactor) store<f64>(byFactor + (<usize>row << 3), slopes);
  }
  return sum;
}
