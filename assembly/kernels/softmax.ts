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
