// The 2:4 product with one token. Four panels of rows are taken at once, a quarter of all panels
// apart: a single stream from memory waits at every page.

import { high, low, movedBits } from "./half";
import { madd } from "./simd";
import { firstPairs, groupBytes, lastPairs } from "./two-four-form";
import {
  fourRows,
  shuffle0,
  shuffle1,
  shuffle2,
  shuffle3,
  storeFourRows,
  swizzle,
} from "./two-four-swizzle";

/**
 * out [rows] = x [4 * groups] W^T + bias; x was multiplied with halfLift() for f16.
 *
 * @param bias [rows], or 0 for none
 * @param scales [rows, up to a multiple of 8], or 0 for none
 * @param step bytes of a panel
 */
export function vectorLinear<T>(
  x: usize,
  panels: usize,
  step: usize,
  out: usize,
  bias: usize,
  scales: usize,
  rows: i32,
  groups: i32,
): void {
  const quarter = (((rows + 7) >> 3) + 3) >> 2;
  for (let i = 0; i < quarter; i++) {
    fourPanels<T>(x, panels, step, quarter, groups, out, bias, scales, rows);
    rows -= 8;
    panels += step;
    out += 32;
    if (bias) bias += 32;
    if (scales) scales += 32;
  }
}

// The value of pair 0, of 1, 2, 3; `eight` of those that are not f32 holds two pairs.
// @ts-ignore: decorator
@inline
function pair0<T>(v: usize, eight: v128, moved: v128): v128 {
  return sizeof<T>() == 4 ? v128.load(v, 4) : low<T>(eight, moved);
}

// @ts-ignore: decorator
@inline
function pair1<T>(v: usize, eight: v128, moved: v128): v128 {
  return sizeof<T>() == 4 ? v128.load(v, 20) : high<T>(eight, moved);
}

// @ts-ignore: decorator
@inline
function pair2<T>(v: usize, eight: v128, moved: v128): v128 {
  return sizeof<T>() == 4 ? v128.load(v, 36) : low<T>(eight, moved);
}

// @ts-ignore: decorator
@inline
function pair3<T>(v: usize, eight: v128, moved: v128): v128 {
  return sizeof<T>() == 4 ? v128.load(v, 52) : high<T>(eight, moved);
}

/**
 * The rows of the panels 0, 1, 2, 3 times `apart`; `rows` are left from the first on, and panels beyond
 * them are computed as the first again, for nothing.
 */
function fourPanels<T>(
  x: usize,
  v0: usize,
  step: usize,
  apart: i32,
  groups: i32,
  out: usize,
  bias: usize,
  scales: usize,
  rows: i32,
): void {
  const moved = movedBits();
  const distance = <usize>apart * step;
  const next = apart << 3;
  let v1 = rows > next ? v0 + distance : v0;
  let v2 = rows > 2 * next ? v0 + 2 * distance : v0;
  let v3 = rows > 3 * next ? v0 + 3 * distance : v0;
  let a0 = f32x4.splat(0);
  let a1 = f32x4.splat(0);
  let a2 = f32x4.splat(0);
  let a3 = f32x4.splat(0);
  let b0 = f32x4.splat(0);
  let b1 = f32x4.splat(0);
  let b2 = f32x4.splat(0);
  let b3 = f32x4.splat(0);
  let c0 = f32x4.splat(0);
  let c1 = f32x4.splat(0);
  let c2 = f32x4.splat(0);
  let c3 = f32x4.splat(0);
  let d0 = f32x4.splat(0);
  let d1 = f32x4.splat(0);
  let d2 = f32x4.splat(0);
  let d3 = f32x4.splat(0);
  for (; groups > 0; groups--) {
    const four = v128.load(x);
    let eight = four;
    let codes = <usize>load<u32>(v0);
    if (sizeof<T>() < 4) eight = firstPairs<T>(v0);
    a0 = madd(pair0<T>(v0, eight, moved), swizzle(four, shuffle0(codes)), a0);
    a1 = madd(pair1<T>(v0, eight, moved), swizzle(four, shuffle1(codes)), a1);
    if (sizeof<T>() < 4) eight = lastPairs<T>(v0);
    a2 = madd(pair2<T>(v0, eight, moved), swizzle(four, shuffle2(codes)), a2);
    a3 = madd(pair3<T>(v0, eight, moved), swizzle(four, shuffle3(codes)), a3);
    codes = <usize>load<u32>(v1);
    if (sizeof<T>() < 4) eight = firstPairs<T>(v1);
    b0 = madd(pair0<T>(v1, eight, moved), swizzle(four, shuffle0(codes)), b0);
    b1 = madd(pair1<T>(v1, eight, moved), swizzle(four, shuffle1(codes)), b1);
    if (sizeof<T>() < 4) eight = lastPairs<T>(v1);
    b2 = madd(pair2<T>(v1, eight, moved), swizzle(four, shuffle2(codes)), b2);
    b3 = madd(pair3<T>(v1, eight, moved), swizzle(four, shuffle3(codes)), b3);
    codes = <usize>load<u32>(v2);
    if (sizeof<T>() < 4) eight = firstPairs<T>(v2);
    c0 = madd(pair0<T>(v2, eight, moved), swizzle(four, shuffle0(codes)), c0);
    c1 = madd(pair1<T>(v2, eight, moved), swizzle(four, shuffle1(codes)), c1);
    if (sizeof<T>() < 4) eight = lastPairs<T>(v2);
    c2 = madd(pair2<T>(v2, eight, moved), swizzle(four, shuffle2(codes)), c2);
    c3 = madd(pair3<T>(v2, eight, moved), swizzle(four, shuffle3(codes)), c3);
    codes = <usize>load<u32>(v3);
    if (sizeof<T>() < 4) eight = firstPairs<T>(v3);
    d0 = madd(pair0<T>(v3, eight, moved), swizzle(four, shuffle0(codes)), d0);
    d1 = madd(pair1<T>(v3, eight, moved), swizzle(four, shuffle1(codes)), d1);
    if (sizeof<T>() < 4) eight = lastPairs<T>(v3);
    d2 = madd(pair2<T>(v3, eight, moved), swizzle(four, shuffle2(codes)), d2);
    d3 = madd(pair3<T>(v3, eight, moved), swizzle(four, shuffle3(codes)), d3);
    x += 16;
    v0 += groupBytes<T>();
    v1 += groupBytes<T>();
    v2 += groupBytes<T>();
    v3 += groupBytes<T>();
  }
  storeEightRows(a0, a1, a2, a3, 0, rows, out, bias, scales);
  storeEightRows(b0, b1, b2, b3, next, rows, out, bias, scales);
  storeEightRows(c0, c1, c2, c3, 2 * next, rows, out, bias, scales);
  storeEightRows(d0, d1, d2, d3, 3 * next, rows, out, bias, scales);
}

/** Stores the rows from `first` on of which there are `rows` in all. */
function storeEightRows(
  s0: v128,
  s1: v128,
  s2: v128,
  s3: v128,
  first: i32,
  rows: i32,
  out: usize,
  bias: usize,
  scales: usize,
): void {
  storeFourRows(fourRows(s0, s1), first, rows, out, bias, scales);
  storeFourRows(fourRows(s2, s3), first + 4, rows, out, bias, scales);
}
