// Softmax and what cross-entropy needs of it, a row at a time: subtract the largest logit, take
// exponentials, sum them in f64. Rows are contiguous f32.

import { expRow, largest, softmaxRow } from "../lib/exp";

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
 * Sum over a row of w * ((r - shiftR) - (x - shiftX)) with the weights w = exp(r - shiftR), and the sum
 * of the weights, which is stored as f64 at `total`.
 *
 * @param weights scratch, f32 [width]
 */
export function softmaxDivergence(
  r: usize,
  x: usize,
  width: i32,
  shiftR: f32,
  shiftX: f32,
  weights: usize,
  total: usize,
): f64 {
  store<f64>(total, expRow(r, weights, width, shiftR, 1));
  let sum: f64 = 0;
  for (let i = 0; i < width; i++) {
    const at = <usize>i << 2;
    const weight = <f64>load<f32>(weights + at);
    const distance =
      <f64>load<f32>(r + at) - <f64>shiftR - (<f64>load<f32>(x + at) - <f64>shiftX);
    // What has no weight counts for nothing, however unlikely it is there.
    if (weight != 0) sum += weight * distance;
  }
  return sum;
}
