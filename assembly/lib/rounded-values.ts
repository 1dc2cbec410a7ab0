// The sum of int8 values of one head under their weights, read in place: 32 columns at once stay in eight
// registers while the rows go by, and codes are widened there.

import { madd } from "./simd";

// @ts-ignore: decorator
@inline
function low(codes: v128): v128 {
  return f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(codes));
}

// @ts-ignore: decorator
@inline
function high(codes: v128): v128 {
  return f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(codes));
}

/** out [dim] += weights [count] v [count, dim]; rows of v are `stride` bytes apart. */
export function mixCodes(weights: usize, v: usize, stride: usize, count: i32, dim: i32, out: usize): void {
  for (; dim >= 32; dim -= 32) {
    mixThirtyTwo(weights, v, stride, count, out);
    v += 32;
    out += 128;
  }
  for (; dim >= 8; dim -= 8) {
    let s0 = v128.load(out);
    let s1 = v128.load(out, 16);
    let from = v;
    for (let s = 0; s < count; s++) {
      const weight = v128.load32_splat(weights + (<usize>s << 2));
      const codes = v128.load8x8_s(from);
      s0 = madd(weight, low(codes), s0);
      s1 = madd(weight, high(codes), s1);
      from += stride;
    }
    v128.store(out, s0);
    v128.store(out, s1, 16);
    v += 8;
    out += 32;
  }
  for (; dim > 0; dim--) {
    let sum = load<f32>(out);
    let from = v;
    for (let s = 0; s < count; s++) {
      sum += load<f32>(weights + (<usize>s << 2)) * <f32>load<i8>(from);
      from += stride;
    }
    store<f32>(out, sum);
    v++;
    out += 4;
  }
}

function mixThirtyTwo(weights: usize, v: usize, stride: usize, count: i32, out: usize): void {
  let s0 = v128.load(out);
  let s1 = v128.load(out, 16);
  let s2 = v128.load(out, 32);
  let s3 = v128.load(out, 48);
  let s4 = v128.load(out, 64);
  let s5 = v128.load(out, 80);
  let s6 = v128.load(out, 96);
  let s7 = v128.load(out, 112);
  for (; count > 0; count--) {
    const weight = v128.load32_splat(weights);
    const a = v128.load8x8_s(v);
    s0 = madd(weight, low(a), s0);
    s1 = madd(weight, high(a), s1);
    const b = v128.load8x8_s(v, 8);
    s2 = madd(weight, low(b), s2);
    s3 = madd(weight, high(b), s3);
    const c = v128.load8x8_s(v, 16);
    s4 = madd(weight, low(c), s4);
    s5 = madd(weight, high(c), s5);
    const d = v128.load8x8_s(v, 24);
    s6 = madd(weight, low(d), s6);
    s7 = madd(weight, high(d), s7);
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
