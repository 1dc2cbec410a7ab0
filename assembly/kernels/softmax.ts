// Softmax and what cross-entropy needs of it, a row at a time: subtract the largest logit, take
// exponentials, sum them in f64. Rows are contiguous f32.

import { expRow, largest } from "../lib/exp";

/** out [rows, width] = softmax(x * factor) row by row; out may be x. width >= 1. */
export function softmax(x: usize, out: usize, rows: i32, width: i32, factor: f32): void {
  for (let row = 0; row < rows; row++) {
    const sum = expRow(x, out, width, largest(x, width), factor);
    const inverse = <f32>(1 / sum);
    const inverses = f32x4.splat(inverse);
    x += <usize>width << 2;
    let left = width;
    for (; left >= 4; left -= 4) {
      v128.store(out, f32x4.mul(v128.load(out), inverses));
      out += 16;
    }
    for (; left > 0; left--) {
      store<f32>(out, load<f32>(out) * inverse);
      out += 4;
    }
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
