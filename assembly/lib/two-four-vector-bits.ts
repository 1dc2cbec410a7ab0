// The inner loop of lib/two-four-vector.ts for values of 16 and 8 bits, which is bound by widening them: of
// two panels all sums stay in registers.

import { madd } from "./simd";
import { groupBytes } from "./two-four-form";
import { shuffleOf, storeEightRows, swizzle } from "./two-four-swizzle";
import { pairBits, pairValues } from "./two-four-values";

/**
 * The rows of the panels 0 and `apart`; `rows` are left from the first on, and if the second panel lies
 * beyond them the first is computed again, for nothing.
 *
 * The branches are always taken: V8 before 13 moves all loads of a straight stretch of code to its top, and
 * so many do not fit into registers.
 */
export function twoPanels<T>(
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
    a1 = madd(pairValues<T>(lanes, 1, bits), swizzle(four, shuffleOf(load<u8>(u0, 1))), a1);
    if (sizeof<T>() > 1) lanes = v128.load(u0, 20);
    a2 = madd(pairValues<T>(lanes, 2, bits), swizzle(four, shuffleOf(load<u8>(u0, 2))), a2);
    a3 = madd(pairValues<T>(lanes, 3, bits), swizzle(four, shuffleOf(load<u8>(u0, 3))), a3);
    if (x0 > 1) {
      lanes = v128.load(v0, 4);
      b0 = madd(pairValues<T>(lanes, 0, bits), swizzle(four, shuffleOf(load<u8>(v0))), b0);
      b1 = madd(pairValues<T>(lanes, 1, bits), swizzle(four, shuffleOf(load<u8>(v0, 1))), b1);
      if (sizeof<T>() > 1) lanes = v128.load(v0, 20);
      b2 = madd(pairValues<T>(lanes, 2, bits), swizzle(four, shuffleOf(load<u8>(v0, 2))), b2);
      b3 = madd(pairValues<T>(lanes, 3, bits), swizzle(four, shuffleOf(load<u8>(v0, 3))), b3);
      if (u0 > 1) {
        four = v128.load(x1);
        lanes = v128.load(u1, 4);
        a0 = madd(pairValues<T>(lanes, 0, bits), swizzle(four, shuffleOf(load<u8>(u1))), a0);
        a1 = madd(pairValues<T>(lanes, 1, bits), swizzle(four, shuffleOf(load<u8>(u1, 1))), a1);
        if (sizeof<T>() > 1) lanes = v128.load(u1, 20);
        a2 = madd(pairValues<T>(lanes, 2, bits), swizzle(four, shuffleOf(load<u8>(u1, 2))), a2);
        a3 = madd(pairValues<T>(lanes, 3, bits), swizzle(four, shuffleOf(load<u8>(u1, 3))), a3);
        if (x0 > 2) {
          lanes = v128.load(v1, 4);
          b0 = madd(pairValues<T>(lanes, 0, bits), swizzle(four, shuffleOf(load<u8>(v1))), b0);
          b1 = madd(pairValues<T>(lanes, 1, bits), swizzle(four, shuffleOf(load<u8>(v1, 1))), b1);
          if (sizeof<T>() > 1) lanes = v128.load(v1, 20);
          b2 = madd(pairValues<T>(lanes, 2, bits), swizzle(four, shuffleOf(load<u8>(v1, 2))), b2);
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
