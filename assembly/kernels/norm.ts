// Normalisation of contiguous rows of f32. Sums are in f64.

import { elementwiseAdd } from "./elementwise";

/** out = x / sqrt(mean(x^2) + eps) * gain for each of `rows` rows of `width` >= 1; out may be x. */
export function normRms(
  x: usize,
  gain: usize,
  out: usize,
  rows: i32,
  width: i32,
  eps: f64,
): void {
  for (let row = 0; row < rows; row++) {
    const scale = <f32>(1 / sqrt(sumSquares(x, width) / <f64>width + eps));
    const scales = f32x4.splat(scale);
    let g = gain;
    let left = width;
    for (; left >= 4; left -= 4) {
      v128.store(out, f32x4.mul(f32x4.mul(v128.load(x), scales), v128.load(g)));
      x += 16;
      g += 16;
      out += 16;
    }
    for (; left > 0; left--) {
      store<f32>(out, load<f32>(x) * scale * load<f32>(g));
      x += 4;
      g += 4;
      out += 4;
    }
  }
}

/**
 * out = (x - mean) / sqrt(variance + eps) * gain + bias for each of `rows` rows of `width` >= 1; out
 * may be x.
 */
export function normLayer(
  x: usize,
  gain: usize,
  bias: usize,
  out: usize,
  rows: i32,
  width: i32,
  eps: f64,
): void {
  for (let row = 0; row < rows; row++) {
    // Differences lie in `out` between the two passes.
    const mean = <f32>(sum(x, width) / <f64>width);
    const means = f32x4.splat(mean);
    let to = out;
    let left = width;
    for (; left >= 4; left -= 4) {
      v128.store(to, f32x4.sub(v128.load(x), means));
      x += 16;
      to += 16;
    }
    for (; left > 0; left--) {
      store<f32>(to, load<f32>(x) - mean);
      x += 4;
      to += 4;
    }
    normRms(out, gain, out, 1, width, eps);
    elementwiseAdd(out, bias, width);
    out += <usize>width << 2;
  }
}

function sum(x: usize, count: i32): f64 {
  let low = f64x2.splat(0);
  let high = f64x2.splat(0);
  for (; count >= 4; count -= 4) {
    const v = v128.load(x);
    low = f64x2.add(low, f64x2.promote_low_f32x4(v));
    high = f64x2.add(high, f64x2.promote_low_f32x4(v128.shuffle<f32>(v, v, 2, 3, 0, 1)));
    x += 16;
  }
  low = f64x2.add(low, high);
  let total = f64x2.extract_lane(low, 0) + f64x2.extract_lane(low, 1);
  for (; count > 0; count--) {
    total += <f64>load<f32>(x);
    x += 4;
  }
  return total;
}

function sumSquares(x: usize, count: i32): f64 {
  let low = f64x2.splat(0);
  let high = f64x2.splat(0);
  for (; count >= 4; count -= 4) {
    const v = v128.load(x);
    const first = f64x2.promote_low_f32x4(v);
    const second = f64x2.promote_low_f32x4(v128.shuffle<f32>(v, v, 2, 3, 0, 1));
    low = f64x2.add(low, f64x2.mul(first, first));
    high = f64x2.add(high, f64x2.mul(second, second));
    x += 16;
  }
  low = f64x2.add(low, high);
  let sum = f64x2.extract_lane(low, 0) + f64x2.extract_lane(low, 1);
  for (; count > 0; count--) {
    const value = <f64>load<f32>(x);
    sum += value * value;
    x += 4;
  }
  return sum;
}
