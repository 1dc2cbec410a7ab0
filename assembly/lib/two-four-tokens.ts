// The 2:4 product with a few tokens: two pairs of rows against up to four tokens at once, which
// reads every weight once for four.

import { madd } from "./simd";
import { fourRows, onePair, SHUFFLES, swizzle } from "./two-four-swizzle";

/**
 * out [tokens, rows] = x [tokens, 4 * groups] W^T + bias; the last block of four tokens must not
 * hold one alone.
 *
 * @param bias [rows], or 0 for none
 */
export function tokensLinear(
  x: usize,
  pairs: usize,
  codes: usize,
  out: usize,
  bias: usize,
  tokens: i32,
  rows: i32,
  groups: i32,
): void {
  const xStep = <usize>groups << 4;
  const outStep = <usize>rows << 2;
  let row = 0;
  for (; row + 4 <= rows; row += 4) {
    for (let t = 0; t < tokens; t += 4) {
      const xs = x + <usize>t * xStep;
      const to = out + <usize>t * outStep;
      fourTokens(xs, xStep, min(4, tokens - t), pairs, codes, groups, to, outStep, bias);
    }
    pairs += 2 * xStep;
    codes += 2 * <usize>groups;
    out += 16;
    if (bias) bias += 16;
  }
  for (; row < rows; row += 2) {
    for (let t = 0; t < tokens; t++) {
      const to = out + <usize>t * outStep;
      onePair(x + <usize>t * xStep, pairs, codes, groups, to, bias, row + 1 < rows);
    }
    pairs += xStep;
    codes += <usize>groups;
    out += 8;
    if (bias) bias += 8;
  }
}

/**
 * Four rows of `count` 2 to 4 tokens; a missing fourth is computed as the third again. The branch
 * in the loop also keeps V8 before 13 from loading for all four tokens at once, which would not
 * fit into registers.
 */
function fourTokens(
  x0: usize,
  xStep: usize,
  count: i32,
  v0: usize,
  c0: usize,
  groups: i32,
  out: usize,
  outStep: usize,
  bias: usize,
): void {
  let x1 = x0 + xStep;
  let x2 = x1 + xStep;
  let x3 = count > 3 ? x2 + xStep : x2;
  let v1 = v0 + (<usize>groups << 4);
  let c1 = c0 + <usize>groups;
  let s00 = f32x4.splat(0);
  let s01 = f32x4.splat(0);
  let s10 = f32x4.splat(0);
  let s11 = f32x4.splat(0);
  let s20 = f32x4.splat(0);
  let s21 = f32x4.splat(0);
  let s30 = f32x4.splat(0);
  let s31 = f32x4.splat(0);
  for (; groups > 0; groups--) {
    const shuffle0 = v128.load(<usize>load<u8>(c0) << 4, SHUFFLES);
    const shuffle1 = v128.load(<usize>load<u8>(c1) << 4, SHUFFLES);
    const w0 = v128.load(v0);
    const w1 = v128.load(v1);
    let four = v128.load(x0);
    s00 = madd(w0, swizzle(four, shuffle0), s00);
    s01 = madd(w1, swizzle(four, shuffle1), s01);
    four = v128.load(x1);
    s10 = madd(w0, swizzle(four, shuffle0), s10);
    s11 = madd(w1, swizzle(four, shuffle1), s11);
    if (count > 2) {
      four = v128.load(x2);
      s20 = madd(w0, swizzle(four, shuffle0), s20);
      s21 = madd(w1, swizzle(four, shuffle1), s21);
      four = v128.load(x3);
      s30 = madd(w0, swizzle(four, shuffle0), s30);
      s31 = madd(w1, swizzle(four, shuffle1), s31);
      x2 += 16;
      x3 += 16;
    }
    x0 += 16;
    x1 += 16;
    v0 += 16;
    v1 += 16;
    c0++;
    c1++;
  }
  const biases = bias ? v128.load(bias) : f32x4.splat(0);
  v128.store(out, f32x4.add(fourRows(s00, s01), biases));
  out += outStep;
  v128.store(out, f32x4.add(fourRows(s10, s11), biases));
  if (count > 2) {
    out += outStep;
    v128.store(out, f32x4.add(fourRows(s20, s21), biases));
  }
  if (count > 3) {
    out += outStep;
    v128.store(out, f32x4.add(fourRows(s30, s31), biases));
  }
}
