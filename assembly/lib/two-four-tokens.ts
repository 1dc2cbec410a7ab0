// The 2:4 product with two to four tokens, from panels of f32: two pairs of rows against all tokens
// at once, which reads every weight once.

import { madd } from "./simd";
import { groupBytes } from "./two-four-form";
import { fourRows, shuffle0, shuffle1, storeFourRows, swizzle } from "./two-four-swizzle";

/**
 * Up to eight rows of `tokens` 2 to 4 tokens: out [tokens, rows] = x [tokens, 4 * groups] times a
 * panel, plus bias.
 *
 * @param outStep bytes between the rows of out
 * @param bias of these rows, or 0 for none
 */
export function tokensLinear(
  x: usize,
  panel: usize,
  out: usize,
  outStep: usize,
  bias: usize,
  tokens: i32,
  rows: i32,
  groups: i32,
): void {
  for (let pairs: usize = 0; pairs < 4; pairs += 2) {
    fourTokens(x, tokens, panel + pairs, panel + 4 + 16 * pairs, groups, out, outStep, bias, rows);
    rows -= 4;
    if (rows <= 0) return;
    out += 16;
    if (bias) bias += 16;
  }
}

/**
 * Four rows of `count` 2 to 4 tokens; a missing fourth is computed as the third again. The branch
 * in the loop also keeps V8 before 13 from loading for all four tokens at once, which would not
 * fit into registers.
 */
function fourTokens(
  x0: usize,
  count: i32,
  codes: usize,
  values: usize,
  groups: i32,
  out: usize,
  outStep: usize,
  bias: usize,
  rows: i32,
): void {
  const xStep = <usize>groups << 4;
  let x1 = x0 + xStep;
  let x2 = x1 + xStep;
  let x3 = count > 3 ? x2 + xStep : x2;
  let s00 = f32x4.splat(0);
  let s01 = f32x4.splat(0);
  let s10 = f32x4.splat(0);
  let s11 = f32x4.splat(0);
  let s20 = f32x4.splat(0);
  let s21 = f32x4.splat(0);
  let s30 = f32x4.splat(0);
  let s31 = f32x4.splat(0);
  for (; groups > 0; groups--) {
    const both = <usize>load<u16>(codes);
    const first = shuffle0(both);
    const second = shuffle1(both);
    const w0 = v128.load(values);
    const w1 = v128.load(values, 16);
    let four = v128.load(x0);
    s00 = madd(w0, swizzle(four, first), s00);
    s01 = madd(w1, swizzle(four, second), s01);
    four = v128.load(x1);
    s10 = madd(w0, swizzle(four, first), s10);
    s11 = madd(w1, swizzle(four, second), s11);
    if (count > 2) {
      four = v128.load(x2);
      s20 = madd(w0, swizzle(four, first), s20);
      s21 = madd(w1, swizzle(four, second), s21);
      four = v128.load(x3);
      s30 = madd(w0, swizzle(four, first), s30);
      s31 = madd(w1, swizzle(four, second), s31);
      x2 += 16;
      x3 += 16;
    }
    x0 += 16;
    x1 += 16;
    codes += groupBytes<f32>();
    values += groupBytes<f32>();
  }
  storeFourRows(fourRows(s00, s01), rows, out, bias, 0);
  out += outStep;
  storeFourRows(fourRows(s10, s11), rows, out, bias, 0);
  if (count > 2) {
    out += outStep;
    storeFourRows(fourRows(s20, s21), rows, out, bias, 0);
  }
  if (count > 3) {
    out += outStep;
    storeFourRows(fourRows(s30, s31), rows, out, bias, 0);
  }
}
