// The 2:4 product with one token. Two panels of rows are taken at once, which are far apart, and each from
// its start and from its middle: a single stream from memory waits at every page.

import { madd } from "./simd";
import { groupBytes } from "./two-four-form";
import { fourRows, shuffleOf, storeFourRows, swizzle } from "./two-four-swizzle";
import { pairBits, pairValues } from "./two-four-values";

/**
 * out [rows] = x [4 * groups] W^T + bias; x was multiplied with what pairValues asks for.
 *
 * @param bias [rows], or 0 for none
 * @param scales [rows, up to a multiple of 8], or 0 for none
 * @param step bytes of a panel
 * @param groups an even number
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
  const half = (((rows + 7) >> 3) + 1) >> 1;
  for (let i = 0; i < half; i++) {
    twoPanels<T>(x, panels, step, half, groups, out, bias, scales, rows);
    rows -= 8;
    panels += step;
    out += 32;
    if (bias) bias += 32;
    if (scales) scales += 32;
  }
}

/**
 * The rows of the panels 0 and `apart`; `rows` are left from the first on, and if the second panel lies
 * beyond them the first is computed again, for nothing.
 *
 * The branches are always taken: V8 before 13 moves all loads of a straight stretch of code to its top, and
 * so many do not fit into registers.
 */
function twoPanels<T>(
  x0: usize,
  u0: usize,
  step: usize,
  apart: i32,
  groups: i32,
  out: usize,
  bias: usize,
  scales: usize,
  rows: i32,
): void {
  const bits = pairBits<T>();
  const next = apart << 3;
  const half = groups >> 1;
  let x1 = x0 + (<usize>half << 4);
  let u1 = u0 + <usize>half * groupBytes<T>();
  let v0 = rows > next ? u0 + <usize>apart * step : u0;
  let v1 = v0 + (u1 - u0);
  let a0 = f32x4.splat(0);
  let a1 = f32x4.splat(0);
  let a2 = f32x4.splat(0);
  let a3 = f32x4.splat(0);
  let b0 = f32x4.splat(0);
  let b1 = f32x4.splat(0);
  let b2 = f32x4.splat(0);
  let b3 = f32x4.splat(0);
  for (let group = 0; group < half; group++) {
    let four = v128.load(x0);
    let lanes = v128.load(u0, 4);
    a0 = madd(pairValues<T>(lanes, 0, bits), swizzle(four, shuffleOf(load<u8>(u0))), a0);
    if (sizeof<T>() > 2) lanes = v128.load(u0, 4 + 4 * sizeof<T>());
    a1 = madd(pairValues<T>(lanes, 1, bits), swizzle(four, shuffleOf(load<u8>(u0, 1))), a1);
    if (sizeof<T>() > 1) lanes = v128.load(u0, 4 + 8 * sizeof<T>());
    a2 = madd(pairValues<T>(lanes, 2, bits), swizzle(four, shuffleOf(load<u8>(u0, 2))), a2);
    if (sizeof<T>() > 2) lanes = v128.load(u0, 4 + 12 * sizeof<T>());
    a3 = madd(pairValues<T>(lanes, 3, bits), swizzle(four, shuffleOf(load<u8>(u0, 3))), a3);
    if (x0 > 1) {
      lanes = v128.load(v0, 4);
      b0 = madd(pairValues<T>(lanes, 0, bits), swizzle(four, shuffleOf(load<u8>(v0))), b0);
      if (sizeof<T>() > 2) lanes = v128.load(v0, 4 + 4 * sizeof<T>());
      b1 = madd(pairValues<T>(lanes, 1, bits), swizzle(four, shuffleOf(load<u8>(v0, 1))), b1);
      if (sizeof<T>() > 1) lanes = v128.load(v0, 4 + 8 * sizeof<T>());
      b2 = madd(pairValues<T>(lanes, 2, bits), swizzle(four, shuffleOf(load<u8>(v0, 2))), b2);
      if (sizeof<T>() > 2) lanes = v128.load(v0, 4 + 12 * sizeof<T>());
      b3 = madd(pairValues<T>(lanes, 3, bits), swizzle(four, shuffleOf(load<u8>(v0, 3))), b3);
      if (u0 > 1) {
        four = v128.load(x1);
        lanes = v128.load(u1, 4);
        a0 = madd(pairValues<T>(lanes, 0, bits), swizzle(four, shuffleOf(load<u8>(u1))), a0);
        if (sizeof<T>() > 2) lanes = v128.load(u1, 4 + 4 * sizeof<T>());
        a1 = madd(pairValues<T>(lanes, 1, bits), swizzle(four, shuffleOf(load<u8>(u1, 1))), a1);
        if (sizeof<T>() > 1) lanes = v128.load(u1, 4 + 8 * sizeof<T>());
        a2 = madd(pairValues<T>(lanes, 2, bits), swizzle(four, shuffleOf(load<u8>(u1, 2))), a2);
        if (sizeof<T>() > 2) lanes = v128.load(u1, 4 + 12 * sizeof<T>());
        a3 = madd(pairValues<T>(lanes, 3, bits), swizzle(four, shuffleOf(load<u8>(u1, 3))), a3);
        if (x0 > 2) {
          lanes = v128.load(v1, 4);
          b0 = madd(pairValues<T>(lanes, 0, bits), swizzle(four, shuffleOf(load<u8>(v1))), b0);
          if (sizeof<T>() > 2) lanes = v128.load(v1, 4 + 4 * sizeof<T>());
          b1 = madd(pairValues<T>(lanes, 1, bits), swizzle(four, shuffleOf(load<u8>(v1, 1))), b1);
          if (sizeof<T>() > 1) lanes = v128.load(v1, 4 + 8 * sizeof<T>());
          b2 = madd(pairValues<T>(lanes, 2, bits), swizzle(four, shuffleOf(load<u8>(v1, 2))), b2);
          if (sizeof<T>() > 2) lanes = v128.load(v1, 4 + 12 * sizeof<T>());
          b3 = madd(pairValues<T>(lanes, 3, bits), swizzle(four, shuffleOf(load<u8>(v1, 3))), b3);
        }
      }
    }
    x0 += 16;
    x1 += 16;
    u0 += groupBytes<T>();
    u1 += groupBytes<T>();
    v0 += groupBytes<T>();
    v1 += groupBytes<T>();
  }
  storeEightRows(a0, a1, a2, a3, 0, rows, out, bias, scales);
  storeEightRows(b0, b1, b2, b3, next, rows, out, bias, scales);
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
