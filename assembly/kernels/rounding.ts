// What rounding the lines of a matrix to a grid is expected to cost, and its derivatives. With h the sum
// of a group's factors, m its largest |w|, r = w / m, S = mean |r|^p and N = m S^(1/p) for a group of g:
// the loss is h N^2, its slope by w is 2 h m S^(2/p - 1) r |r|^(p - 2) / g, and by each factor N^2.
// p is 2^squarings.
//
// A group is gone through three times: for m, for S, for the derivatives. Sums over groups are in f64.
// Groups whose m is no normal number add nothing. Columns are gone through four at a time.

import { highDoubles, loadUpTo, lowDoubles, storeUpTo, sumDoubles } from "../lib/lanes";
import {
  inverseOrZero,
  powerOf,
  rootOf,
  slopeOf,
  sumOfFactors,
  whereLarge,
} from "../lib/rounding-group";

/** The largest lane, NaN if there is one. */
// @ts-ignore: decorator
@inline
function largestLane(v: v128): v128 {
  const pairs = f32x4.max(v, v128.shuffle<f32>(v, v, 2, 3, 0, 1));
  return f32x4.max(pairs, v128.shuffle<f32>(pairs, pairs, 1, 0, 3, 2));
}

/** N^2 of n consecutive floats; takes the derivatives by them. */
function groupOfRow(n: i32, w: usize, factor: f64, gradient: usize, accumulate: bool, squarings: i32): f64 {
  let most = f32x4.splat(0);
  let at = w;
  for (let left = n; left > 0; left -= 4) {
    most = f32x4.max(most, f32x4.abs(loadUpTo(at, left)));
    at += 16;
  }
  const m = largestLane(most);
  const inverse = inverseOrZero(m);
  let powers = f64x2.splat(0);
  at = w;
  for (let left = n; left > 0; left -= 4) {
    const power = powerOf(f32x4.mul(loadUpTo(at, left), inverse), squarings);
    powers = f64x2.add(powers, f64x2.add(lowDoubles(power), highDoubles(power)));
    at += 16;
  }
  const mean = f32x4.splat(<f32>(sumDoubles(powers) / <f64>n));
  const root = rootOf(mean, squarings);
  const factors = f32x4.splat(<f32>((2 * factor) / <f64>n));
  const steep = whereLarge(f32x4.div(f32x4.mul(f32x4.mul(factors, m), root), mean), m);
  at = w;
  for (let left = n; left > 0; left -= 4) {
    const r = f32x4.mul(loadUpTo(at, left), inverse);
    const before = accumulate ? loadUpTo(gradient, left) : f32x4.splat(0);
    storeUpTo(gradient, f32x4.add(before, f32x4.mul(steep, slopeOf(r, squarings))), left);
    at += 16;
    gradient += 16;
  }
  const largest = <f64>f32x4.extract_lane(m, 0);
  const scale = <f64>f32x4.extract_lane(whereLarge(root, m), 0);
  return largest * largest * scale;
}

/**
 * Rows of w [rows, cols]. `factors` [cols] f32; `byFactor` [cols] f64 takes sums of N^2, and may be 0.
 *
 * @returns the sum over the groups
 */
export function roundingRows(
  rows: i32,
  cols: i32,
  w: usize,
  factors: usize,
  gradient: usize,
  byFactor: usize,
  accumulate: bool,
  groupSize: i32,
  squarings: i32,
): f64 {
  let sum: f64 = 0;
  // By groups, so that each one's factors are added once.
  for (let first = 0; first < cols; first += groupSize) {
    const n = min(groupSize, cols - first);
    const factor = sumOfFactors(factors + (<usize>first << 2), n);
    let squares: f64 = 0;
    for (let row = 0; row < rows; row++) {
      const at = (<usize>row * <usize>cols + <usize>first) << 2;
      squares += groupOfRow(n, w + at, factor, gradient + at, accumulate, squarings);
    }
    sum += factor * squares;
    if (byFactor) fillDoubles(byFactor + (<usize>first << 3), n, squares);
  }
  return sum;
}

function fillDoubles(to: usize, n: i32, value: f64): void {
  for (; n > 0; n--) {
    store<f64>(to, value);
    to += 8;
  }
}

/** The sum of N^2 over up to four columns' groups of n rows; takes the derivatives. `step` in bytes. */
function groupOfColumns(
  cols: i32,
  n: i32,
  step: usize,
  w: usize,
  factor: f64,
  gradient: usize,
  accumulate: bool,
  squarings: i32,
): f64 {
  let m = f32x4.splat(0);
  let at = w;
  for (let i = 0; i < n; i++) {
    m = f32x4.max(m, f32x4.abs(loadUpTo(at, cols)));
    at += step;
  }
  const inverse = inverseOrZero(m);
  let low = f64x2.splat(0);
  let high = f64x2.splat(0);
  at = w;
  for (let i = 0; i < n; i++) {
    const power = powerOf(f32x4.mul(loadUpTo(at, cols), inverse), squarings);
    low = f64x2.add(low, lowDoubles(power));
    high = f64x2.add(high, highDoubles(power));
    at += step;
  }
  const share = f64x2.splat(1 / <f64>n);
  const mean = v128.shuffle<f32>(
    f32x4.demote_f64x2_zero(f64x2.mul(low, share)),
    f32x4.demote_f64x2_zero(f64x2.mul(high, share)),
    0,
    1,
    4,
    5,
  );
  const root = rootOf(mean, squarings);
  const factors = f32x4.splat(<f32>((2 * factor) / <f64>n));
  const steep = whereLarge(f32x4.div(f32x4.mul(f32x4.mul(factors, m), root), mean), m);
  at = w;
  for (let i = 0; i < n; i++) {
    const r = f32x4.mul(loadUpTo(at, cols), inverse);
    const before = accumulate ? loadUpTo(gradient, cols) : f32x4.splat(0);
    storeUpTo(gradient, f32x4.add(before, f32x4.mul(steep, slopeOf(r, squarings))), cols);
    at += step;
    gradient += step;
  }
  const squares = f64x2.mul(f64x2.mul(lowDoubles(m), lowDoubles(m)), lowDoubles(whereLarge(root, m)));
  const others = f64x2.mul(f64x2.mul(highDoubles(m), highDoubles(m)), highDoubles(whereLarge(root, m)));
  return sumDoubles(f64x2.add(squares, others));
}

/** The same over columns of w [rows, cols], with `factors` and `byFactor` [rows]. */
export function roundingColumns(
  rows: i32,
  cols: i32,
  w: usize,
  factors: usize,
  gradient: usize,
  byFactor: usize,
  accumulate: bool,
  groupSize: i32,
  squarings: i32,
): f64 {
  const step = <usize>cols << 2;
  let sum: f64 = 0;
  for (let first = 0; first < rows; first += groupSize) {
    const n = min(groupSize, rows - first);
    const factor = sumOfFactors(factors + (<usize>first << 2), n);
    const at = <usize>first * step;
    let squares: f64 = 0;
    for (let col = 0; col < cols; col += 4) {
      const from = at + (<usize>col << 2);
      squares += groupOfColumns(cols - col, n, step, w + from, factor, gradient + from, accumulate, squarings);
    }
    sum += factor * squares;
    if (byFactor) fillDoubles(byFactor + (<usize>first << 3), n, squares);
  }
  return sum;
}
