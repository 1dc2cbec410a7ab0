// 2:4 products for few tokens. Four activations of a token are one vector; swizzling it by the
// shuffle of a code byte (a table of 256) lines it up with the four values of a pair of rows, so
// that one multiply-add does eight columns' worth of a dense product. The prepared form is
// described in kernels/two-four.ts.
//
// One token: four pairs of rows at once, as many memory streams as prefetching can use. More: two
// pairs against four tokens, which reads every weight once for four.

import { madd } from "./simd";

const SHUFFLES: usize = memory.data(4096, 16);

/** Writes the 256 shuffles; call once. */
export function fillShuffles(): void {
  for (let code = 0; code < 256; code++) {
    for (let lane = 0; lane < 4; lane++) {
      const column: u32 = (code >> (2 * lane)) & 3;
      store<u32>(SHUFFLES + <usize>(code * 16 + lane * 4), 0x03020100 + 0x04040404 * column);
    }
  }
}

// @ts-ignore: decorator
@inline
function swizzle(x: v128, shuffle: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? i8x16.relaxed_swizzle(x, shuffle) : i8x16.swizzle(x, shuffle);
}

/** The activations of one group in the order of a pair's values. */
// @ts-ignore: decorator
@inline
function select(x: v128, code: usize): v128 {
  return swizzle(x, v128.load(code << 4, SHUFFLES));
}

/** The sums of two pairs' rows: lanes 0 and 1 belong to the first row of a pair, 2 and 3 to the second. */
// @ts-ignore: decorator
@inline
function fourRows(a: v128, b: v128): v128 {
  return f32x4.add(v128.shuffle<f32>(a, b, 0, 2, 4, 6), v128.shuffle<f32>(a, b, 1, 3, 5, 7));
}

/**
 * out [tokens, rows] = x [tokens, 4 * groups] W^T + bias.
 *
 * @param bias [rows], or 0 for none
 */
export function swizzleLinear(
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
  const single = tokens & 3;
  // Three tokens, or two, cost as much as four; one alone does not.
  const alone = single == 1 ? 1 : 0;
  let row = 0;
  for (; row + 8 <= rows; row += 8) {
    const next = pairs + 2 * xStep;
    const nextCodes = codes + 2 * <usize>groups;
    let t = 0;
    for (; t < tokens - alone; t += 4) {
      const count = min(4, tokens - t);
      const xs = x + <usize>t * xStep;
      const to = out + <usize>t * outStep;
      fourTokens(xs, xStep, count, pairs, codes, groups, to, outStep, bias);
      fourTokens(xs, xStep, count, next, nextCodes, groups, to + 16, outStep, bias ? bias + 16 : 0);
    }
    if (alone) {
      const last = tokens - 1;
      const to = out + <usize>last * outStep;
      oneToken(x + <usize>last * xStep, pairs, codes, groups, to, bias);
    }
    pairs = next + 2 * xStep;
    codes = nextCodes + 2 * <usize>groups;
    out += 32;
    if (bias) bias += 32;
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

/** Eight rows of one token. */
function oneToken(x: usize, v0: usize, c0: usize, groups: i32, out: usize, bias: usize): void {
  let v1 = v0 + (<usize>groups << 4);
  let v2 = v1 + (<usize>groups << 4);
  let v3 = v2 + (<usize>groups << 4);
  let c1 = c0 + <usize>groups;
  let c2 = c1 + <usize>groups;
  let c3 = c2 + <usize>groups;
  let s0 = f32x4.splat(0);
  let s1 = f32x4.splat(0);
  let s2 = f32x4.splat(0);
  let s3 = f32x4.splat(0);
  for (; groups >= 2; groups -= 2) {
    let four = v128.load(x);
    s0 = madd(v128.load(v0), select(four, load<u8>(c0)), s0);
    s1 = madd(v128.load(v1), select(four, load<u8>(c1)), s1);
    s2 = madd(v128.load(v2), select(four, load<u8>(c2)), s2);
    s3 = madd(v128.load(v3), select(four, load<u8>(c3)), s3);
    four = v128.load(x, 16);
    s0 = madd(v128.load(v0, 16), select(four, load<u8>(c0, 1)), s0);
    s1 = madd(v128.load(v1, 16), select(four, load<u8>(c1, 1)), s1);
    s2 = madd(v128.load(v2, 16), select(four, load<u8>(c2, 1)), s2);
    s3 = madd(v128.load(v3, 16), select(four, load<u8>(c3, 1)), s3);
    x += 32;
    v0 += 32;
    v1 += 32;
    v2 += 32;
    v3 += 32;
    c0 += 2;
    c1 += 2;
    c2 += 2;
    c3 += 2;
  }
  if (groups) {
    const four = v128.load(x);
    s0 = madd(v128.load(v0), select(four, load<u8>(c0)), s0);
    s1 = madd(v128.load(v1), select(four, load<u8>(c1)), s1);
    s2 = madd(v128.load(v2), select(four, load<u8>(c2)), s2);
    s3 = madd(v128.load(v3), select(four, load<u8>(c3)), s3);
  }
  let low = fourRows(s0, s1);
  let high = fourRows(s2, s3);
  if (bias) {
    low = f32x4.add(low, v128.load(bias));
    high = f32x4.add(high, v128.load(bias, 16));
  }
  v128.store(out, low);
  v128.store(out, high, 16);
}

/** Two rows of one token, or one. */
function onePair(
  x: usize,
  pair: usize,
  codes: usize,
  groups: i32,
  out: usize,
  bias: usize,
  both: bool,
): void {
  let sums = f32x4.splat(0);
  for (; groups > 0; groups--) {
    sums = madd(v128.load(pair), select(v128.load(x), load<u8>(codes)), sums);
    x += 16;
    pair += 16;
    codes++;
  }
  sums = fourRows(sums, sums);
  const first = f32x4.extract_lane(sums, 0);
  store<f32>(out, bias ? first + load<f32>(bias) : first);
  if (!both) return;
  const second = f32x4.extract_lane(sums, 1);
  store<f32>(out, bias ? second + load<f32>(bias, 4) : second, 4);
}

/**
 * Four rows of `count` 2 to 4 tokens; where there are fewer than four, the last one is computed
 * more than once.
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
  let x2 = count > 2 ? x1 + xStep : x1;
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
    four = v128.load(x2);
    s20 = madd(w0, swizzle(four, shuffle0), s20);
    s21 = madd(w1, swizzle(four, shuffle1), s21);
    four = v128.load(x3);
    s30 = madd(w0, swizzle(four, shuffle0), s30);
    s31 = madd(w1, swizzle(four, shuffle1), s31);
    x0 += 16;
    x1 += 16;
    x2 += 16;
    x3 += 16;
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
