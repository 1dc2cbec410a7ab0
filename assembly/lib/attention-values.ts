// The sum of values of one head under their weights, read in place: 32 columns at once stay in
// eight registers while the rows go by.

import { madd } from "./simd";

/**
 * out [dim] = weights [count] v [count, dim], added to out unless `overwrite`; rows of v are
 * `stride` bytes apart.
 */
export function mixValues(
  weights: usize,
  v: usize,
  stride: usize,
  count: i32,
  dim: i32,
  out: usize,
  overwrite: bool,
): void {
  for (; dim >= 32; dim -= 32) {
    mixThirtyTwo(weights, v, stride, count, out, overwrite);
    v += 128;
    out += 128;
  }
  for (; dim >= 4; dim -= 4) {
    let sums = overwrite ? f32x4.splat(0) : v128.load(out);
    let from = v;
    for (let s = 0; s < count; s++) {
      sums = madd(v128.load32_splat(weights + (<usize>s << 2)), v128.load(from), sums);
      from += stride;
    }
    v128.store(out, sums);
    v += 16;
    out += 16;
  }
  for (; dim > 0; dim--) {
    let sum: f32 = overwrite ? 0 : load<f32>(out);
    let from = v;
    for (let s = 0; s < count; s++) {
      sum += load<f32>(weights + (<usize>s << 2)) * load<f32>(from);
      from += stride;
    }
    store<f32>(out, sum);
    v += 4;
    out += 4;
  }
}

function mixThirtyTwo(
  weights: usize,
  v: usize,
  stride: usize,
  count: i32,
  out: usize,
  overwrite: bool,
): void {
  let s0 = f32x4.splat(0);
  let s1 = f32x4.splat(0);
  let s2 = f32x4.splat(0);
  let s3 = f32x4.splat(0);
  let s4 = f32x4.splat(0);
  let s5 = f32x4.splat(0);
  let s6 = f32x4.splat(0);
  let s7 = f32x4.splat(0);
  if (!overwrite) {
    s0 = v128.load(out);
    s1 = v128.load(out, 16);
    s2 = v128.load(out, 32);
    s3 = v128.load(out, 48);
    s4 = v128.load(out, 64);
    s5 = v128.load(out, 80);
    s6 = v128.load(out, 96);
    s7 = v128.load(out, 112);
  }
  for (; count > 0; count--) {
    const weight = v128.load32_splat(weights);
    s0 = madd(weight, v128.load(v), s0);
    s1 = madd(weight, v128.load(v, 16), s1);
    s2 = madd(weight, v128.load(v, 32), s2);
    s3 = madd(weight, v128.load(v, 48), s3);
    s4 = madd(weight, v128.load(v, 64), s4);
    s5 = madd(weight, v128.load(v, 80), s5);
    s6 = madd(weight, v128.load(v, 96), s6);
    s7 = madd(weight, v128.load(v, 112), s7);
    weights += 4;
    v += stride;
  }
  v128.store(out, s0);
  v128.store(out, s1, 16);
  v128.store(out, s2, 32);
  v128.store(out, s3, 48);
  v128.store(out, s4, 64);
  v128.store(out, s5, 80);
  v128.store(out, s6, 96);
  v128.store(out, s7, 112);
}
