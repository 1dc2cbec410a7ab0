// The 2:4 product with two to four tokens, from panels of f32: one pair of rows from each of two
// panels, which are far apart, against all tokens at once. Two streams from memory wait for pages half
// as long as one, and every weight is read once for all tokens.

import { madd } from "./simd";
import { groupBytes, PANEL_ROWS } from "./two-four-form";
import { fourRows, shuffleOf, swizzle } from "./two-four-swizzle";

/**
 * Up to eight rows of each of two panels for `tokens` 2 to 4 tokens: out [tokens, rows] =
 * x [tokens, 4 * groups] times the panels, plus bias.
 *
 * @param distance bytes from the first panel's results, and bias, to the second's
 * @param outStep bytes between the rows of out
 * @param bias of the first panel's rows, or 0 for none
 * @param rows of the second panel, which may be none
 */
export function tokensLinear(
  x: usize,
  first: usize,
  second: usize,
  distance: usize,
  out: usize,
  outStep: usize,
  bias: usize,
  tokens: i32,
  firstRows: i32,
  rows: i32,
  groups: i32,
): void {
  for (let pair = 0; pair < PANEL_ROWS / 2; pair++) {
    if (firstRows <= 0 && rows <= 0) return;
    const skip = <usize>(pair << 3);
    const code = <usize>pair;
    fourTokens(
      x,
      tokens,
      first + code,
      second + code,
      4 + 15 * code,
      groups,
      out + skip,
      distance,
      outStep,
      bias ? bias + skip : 0,
      firstRows,
      rows,
    );
    firstRows -= 2;
    rows -= 2;
  }
}

/**
 * A pair of rows of each panel for `count` 2 to 4 tokens; a missing fourth is computed as the third
 * again. The branch in the loop also keeps V8 before 13 from loading for all four tokens at once, which
 * would not fit into registers.
 */
function fourTokens(
  x0: usize,
  count: i32,
  first: usize,
  second: usize,
  values: usize,
  groups: i32,
  out: usize,
  distance: usize,
  outStep: usize,
  bias: usize,
  firstRows: i32,
  rows: i32,
): void {
  const xStep = <usize>groups << 4;
  let x1 = x0 + xStep;
  let x2 = x1 + xStep;
  let x3 = count > 3 ? x2 + xStep : x2;
  let v0 = first + values;
  let v1 = second + values;
  let s00 = f32x4.splat(0);
  let s01 = f32x4.splat(0);
  let s10 = f32x4.splat(0);
  let s11 = f32x4.splat(0);
  let s20 = f32x4.splat(0);
  let s21 = f32x4.splat(0);
  let s30 = f32x4.splat(0);
  let s31 = f32x4.splat(0);
  for (; groups > 0; groups--) {
    const shuffle0 = shuffleOf(load<u8>(first));
    const shuffle1 = shuffleOf(load<u8>(second));
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
    first += groupBytes<f32>();
    second += groupBytes<f32>();
    v0 += groupBytes<f32>();
    v1 += groupBytes<f32>();
  }
  let s0 = fourRows(s00, s10);
  let s1 = fourRows(s01, s11);
  storePair(s0, s1, 0, firstRows, rows, out, distance, bias);
  storePair(s0, s1, 1, firstRows, rows, out + outStep, distance, bias);
  if (count == 2) return;
  s0 = fourRows(s20, s30);
  s1 = fourRows(s21, s31);
  out += 2 * outStep;
  storePair(s0, s1, 0, firstRows, rows, out, distance, bias);
  if (count == 4) storePair(s0, s1, 1, firstRows, rows, out + outStep, distance, bias);
}

/** One token's rows of both panels: lanes 0 and 1 of s0 and s1, or 2 and 3. */
function storePair(
  s0: v128,
  s1: v128,
  half: i32,
  firstRows: i32,
  rows: i32,
  out: usize,
  distance: usize,
  bias: usize,
): void {
  if (half) {
    s0 = v128.shuffle<f64>(s0, s0, 1, 1);
    s1 = v128.shuffle<f64>(s1, s1, 1, 1);
  }
  storeRows(s0, firstRows, out, bias);
  storeRows(s1, rows, out + distance, bias ? bias + distance : 0);
}

function storeRows(sums: v128, rows: i32, out: usize, bias: usize): void {
  if (rows <= 0) return;
  const first = f32x4.extract_lane(sums, 0);
  store<f32>(out, bias ? first + load<f32>(bias) : first);
  if (rows == 1) return;
  const second = f32x4.extract_lane(sums, 1);
  store<f32>(out, bias ? second + load<f32>(bias, 4) : second, 4);
}
