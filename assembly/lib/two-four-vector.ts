// The 2:4 product with one token. Several panels of rows are taken at once, which are far apart, and each
// from its start and from its middle: a single stream from memory waits at every page.

import { madd } from "./simd";
import { groupBytes } from "./two-four-form";
import { shuffleOf, storeEightRows, swizzle } from "./two-four-swizzle";
import { twoPanels } from "./two-four-vector-bits";

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
  const panelsLeft = (rows + 7) >> 3;
  const apart = sizeof<T>() == 4 ? (panelsLeft + 3) >> 2 : (panelsLeft + 1) >> 1;
  for (let i = 0; i < apart; i++) {
    if (sizeof<T>() == 4) fourPanels(x, panels, step, apart, groups, out, bias, scales, rows);
    else twoPanels<T>(x, panels, step, apart, groups, out, bias, scales, rows);
    rows -= 8;
    panels += step;
    out += 32;
    if (bias) bias += 32;
    if (scales) scales += 32;
  }
}

/**
 * The rows of the f32 panels 0, 1, 2, 3 times `apart`; `rows` are left from the first on, and panels beyond
 * them are computed as the first again, for nothing.
 *
 * The branches are always taken: V8 before 13 moves all loads of a straight stretch of code to its top, and
 * so many do not fit into registers.
 */
function fourPanels(
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
  const distance = <usize>apart * step;
  const next = apart << 3;
  const half = groups >> 1;
  const xHalf = <usize>half << 4;
  const vHalf = <usize>half * groupBytes<f32>();
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
  for (let group = 0; group < half; group++) {
    const four = v128.load(x);
    const other = v128.load(x + xHalf);
    let v: usize;
    a0 = madd(v128.load(v0, 4), swizzle(four, shuffleOf(load<u8>(v0))), a0);
    a1 = madd(v128.load(v0, 20), swizzle(four, shuffleOf(load<u8>(v0, 1))), a1);
    a2 = madd(v128.load(v0, 36), swizzle(four, shuffleOf(load<u8>(v0, 2))), a2);
    a3 = madd(v128.load(v0, 52), swizzle(four, shuffleOf(load<u8>(v0, 3))), a3);
    if (x > 1) {
      v = v0 + vHalf;
      a0 = madd(v128.load(v, 4), swizzle(other, shuffleOf(load<u8>(v))), a0);
      a1 = madd(v128.load(v, 20), swizzle(other, shuffleOf(load<u8>(v, 1))), a1);
      a2 = madd(v128.load(v, 36), swizzle(other, shuffleOf(load<u8>(v, 2))), a2);
      a3 = madd(v128.load(v, 52), swizzle(other, shuffleOf(load<u8>(v, 3))), a3);
      if (v0 > 1) {
        b0 = madd(v128.load(v1, 4), swizzle(four, shuffleOf(load<u8>(v1))), b0);
        b1 = madd(v128.load(v1, 20), swizzle(four, shuffleOf(load<u8>(v1, 1))), b1);
        b2 = madd(v128.load(v1, 36), swizzle(four, shuffleOf(load<u8>(v1, 2))), b2);
        b3 = madd(v128.load(v1, 52), swizzle(four, shuffleOf(load<u8>(v1, 3))), b3);
        if (x > 2) {
          v = v1 + vHalf;
          b0 = madd(v128.load(v, 4), swizzle(other, shuffleOf(load<u8>(v))), b0);
          b1 = madd(v128.load(v, 20), swizzle(other, shuffleOf(load<u8>(v, 1))), b1);
          b2 = madd(v128.load(v, 36), swizzle(other, shuffleOf(load<u8>(v, 2))), b2);
          b3 = madd(v128.load(v, 52), swizzle(other, shuffleOf(load<u8>(v, 3))), b3);
          if (v0 > 2) {
            c0 = madd(v128.load(v2, 4), swizzle(four, shuffleOf(load<u8>(v2))), c0);
            c1 = madd(v128.load(v2, 20), swizzle(four, shuffleOf(load<u8>(v2, 1))), c1);
            c2 = madd(v128.load(v2, 36), swizzle(four, shuffleOf(load<u8>(v2, 2))), c2);
            c3 = madd(v128.load(v2, 52), swizzle(four, shuffleOf(load<u8>(v2, 3))), c3);
            if (x > 3) {
              v = v2 + vHalf;
              c0 = madd(v128.load(v, 4), swizzle(other, shuffleOf(load<u8>(v))), c0);
              c1 = madd(v128.load(v, 20), swizzle(other, shuffleOf(load<u8>(v, 1))), c1);
              c2 = madd(v128.load(v, 36), swizzle(other, shuffleOf(load<u8>(v, 2))), c2);
              c3 = madd(v128.load(v, 52), swizzle(other, shuffleOf(load<u8>(v, 3))), c3);
              if (v0 > 3) {
                d0 = madd(v128.load(v3, 4), swizzle(four, shuffleOf(load<u8>(v3))), d0);
                d1 = madd(v128.load(v3, 20), swizzle(four, shuffleOf(load<u8>(v3, 1))), d1);
                d2 = madd(v128.load(v3, 36), swizzle(four, shuffleOf(load<u8>(v3, 2))), d2);
                d3 = madd(v128.load(v3, 52), swizzle(four, shuffleOf(load<u8>(v3, 3))), d3);
                if (x > 4) {
                  v = v3 + vHalf;
                  d0 = madd(v128.load(v, 4), swizzle(other, shuffleOf(load<u8>(v))), d0);
                  d1 = madd(v128.load(v, 20), swizzle(other, shuffleOf(load<u8>(v, 1))), d1);
                  d2 = madd(v128.load(v, 36), swizzle(other, shuffleOf(load<u8>(v, 2))), d2);
                  d3 = madd(v128.load(v, 52), swizzle(other, shuffleOf(load<u8>(v, 3))), d3);
                }
              }
            }
          }
        }
      }
    }
    x += 16;
    v0 += groupBytes<f32>();
    v1 += groupBytes<f32>();
    v2 += groupBytes<f32>();
    v3 += groupBytes<f32>();
  }
  storeEightRows(a0, a1, a2, a3, 0, rows, out, bias, scales);
  storeEightRows(b0, b1, b2, b3, next, rows, out, bias, scales);
  storeEightRows(c0, c1, c2, c3, 2 * next, rows, out, bias, scales);
  storeEightRows(d0, d1, d2, d3, 3 * next, rows, out, bias, scales);
}
