// Softmax and what cross-entropy needs of it, a row at a time: subtract the largest logit, take
// exponentials, sum them in f64. Rows are contiguous f32.

import { exp, expRow, expScalar, largest, softmaxRow } from "../lib/exp";

/** out [rows, width] = softmax(x * factor) row by row; out may be x. width >= 1. */
export function softmax(x: usize, out: usize, rows: i32, width: i32, factor: f32): void {
  const step = <usize>width << 2;
  for (let row = 0; row < rows; row++) {
    softmaxRow(x, out, width, factor);
    x += step;
    out += step;
  }
}

/** The largest of `width` >= 1 logits. */
export function softmaxLargest(x: usize, width: i32): f32 {
  return largest(x, width);
}

/** Sum of exp(x - shift) over a row. */
export function softmaxTotal(x: usize, width: i32, shift: f32): f64 {
  return expRow(x, 0, width, shift, 1);
}

/**
 * Where the largest of `width` >= 1 values stands: the first of equals, and NaN before all.
 */
export function softmaxArgmax(x: usize, width: i32): i32 {
  const most = largest(x, width);
  const lanes = f32x4.splat(most);
  let i = 0;
  for (; i + 4 <= width; i += 4) {
    const values = v128.load(x + (<usize>i << 2));
    if (v128.any_true(f32x4.ne(values, values))) break;
  }
  for (; i < width; i++) {
    const value = load<f32>(x + (<usize>i << 2));
    if (value != value) return i;
  }
  for (i = 0; i + 4 <= width; i += 4) {
    if (v128.any_true(f32x4.eq(v128.load(x + (<usize>i << 2)), lanes))) break;
  }
  while (load<f32>(x + (<usize>i << 2)) != most) i++;
  return i;
}

/** The sum of all f64 lanes of two halves. */
// @ts-ignore: decorator
@inline
function sumOf(low: v128, high: v128): f64 {
  const both = f64x2.add(low, high);
  return f64x2.extract_lane(both, 0) + f64x2.extract_lane(both, 1);
}

// @ts-ignore: decorator
@inline
function highHalf(lanes: v128): v128 {
  return f64x2.promote_low_f32x4(v128.shuffle<f32>(lanes, lanes, 2, 3, 0, 1));
}

/** w * ((r - shiftR) - (x - shiftX)), where w is not 0: what has no weight counts for nothing. */
// @ts-ignore: decorator
@inline
function weighted(w: v128, r: v128, x: v128, shiftR: v128, shiftX: v128): v128 {
  const distance = f64x2.sub(f64x2.sub(r, shiftR), f64x2.sub(x, shiftX));
  return v128.and(f64x2.mul(w, distance), f64x2.ne(w, f64x2.splat(0)));
}

/**
 * Three sums over a row, stored as f64 at `sums`: of the weights w = exp(r - shiftR), of
 * w * ((r - shiftR) - (x - shiftX)), and of exp(x - shiftX).
 */
export function softmaxDivergence(
  r: usize,
  x: usize,
  width: i32,
  shiftR: f32,
  shiftX: f32,
  sums: usize,
): void {
  const shiftsR = f32x4.splat(shiftR);
  const shiftsX = f32x4.splat(shiftX);
  const doubleR = f64x2.splat(shiftR);
  const doubleX = f64x2.splat(shiftX);
  const zero = f64x2.splat(0);
  let weightsLow = zero;
  let weightsHigh = zero;
  let termsLow = zero;
  let termsHigh = zero;
  let othersLow = zero;
  let othersHigh = zero;
  let i = 0;
  for (; i + 4 <= width; i += 4) {
    const at = <usize>i << 2;
    const rs = v128.load(r + at);
    const xs = v128.load(x + at);
    const weights = exp(f32x4.sub(rs, shiftsR));
    const others = exp(f32x4.sub(xs, shiftsX));
    const low = f64x2.promote_low_f32x4(weights);
    const high = highHalf(weights);
    weightsLow = f64x2.add(weightsLow, low);
    weightsHigh = f64x2.add(weightsHigh, high);
    othersLow = f64x2.add(othersLow, f64x2.promote_low_f32x4(others));
    othersHigh = f64x2.add(othersHigh, highHalf(others));
    const rLow = f64x2.promote_low_f32x4(rs);
    const xLow = f64x2.promote_low_f32x4(xs);
    termsLow = f64x2.add(termsLow, weighted(low, rLow, xLow, doubleR, doubleX));
    termsHigh = f64x2.add(termsHigh, weighted(high, highHalf(rs), highHalf(xs), doubleR, doubleX));
  }
  let weight = sumOf(weightsLow, weightsHigh);
  let term = sumOf(termsLow, termsHigh);
  let other = sumOf(othersLow, othersHigh);
  for (; i < width; i++) {
    const at = <usize>i << 2;
    const value = load<f32>(r + at);
    const own = load<f32>(x + at);
    const one = <f64>expScalar(value - shiftR);
    weight += one;
    other += expScalar(own - shiftX);
    if (one != 0) term += one * (<f64>value - <f64>shiftR - (<f64>own - <f64>shiftX));
  }
  store<f64>(sums, weight);
  store<f64>(sums, term, 8);
  store<f64>(sums, other, 16);
}
