// Products of few rows of x with W [O, I] as stored: packing W would cost as much as multiplying by it.
// Both operands are read as they lie, four floats of k at a time. A dot product has four partial sums,
// which are added up at its end.

import { madd, sumLanes } from "./simd";

/** Up to this many rows of x `multiplyFewTokens` beats packing W in every engine; in most, up to 32. */
export const FEW_TOKENS: i32 = 16;

/**
 * out [tokens, outFeatures] += x [tokens, inFeatures] Wᵀ, W [outFeatures, inFeatures]; rows of out lie
 * outStep floats apart.
 */
export function multiplyFewTokens(
  tokens: i32,
  outFeatures: i32,
  inFeatures: i32,
  x: usize,
  w: usize,
  out: usize,
  outStep: i32,
): void {
  const ldx = <usize>inFeatures << 2;
  const ldo = <usize>outStep << 2;
  let o = 0;
  for (; o + 4 <= outFeatures; o += 4) {
    const wAt = w + <usize>o * ldx;
    const outAt = out + (<usize>o << 2);
    let t = 0;
    for (; t + 4 <= tokens; t += 4) {
      const xAt = x + <usize>t * ldx;
      const to = outAt + <usize>t * ldo;
      dotTwoByFour(inFeatures, wAt, xAt, ldx, to, ldo);
      dotTwoByFour(inFeatures, wAt + 2 * ldx, xAt, ldx, to + 8, ldo);
    }
    for (; t < tokens; t++) {
      dotFourByOne(inFeatures, wAt, x + <usize>t * ldx, ldx, outAt + <usize>t * ldo);
    }
  }
  for (; o < outFeatures; o++) {
    for (let t = 0; t < tokens; t++) {
      const to = out + <usize>t * ldo + (<usize>o << 2);
      store<f32>(to, load<f32>(to) + dot(inFeatures, w + <usize>o * ldx, x + <usize>t * ldx));
    }
  }
}

/** out [4 tokens, 2] += two rows of W times four tokens. */
function dotTwoByFour(n: i32, w: usize, x: usize, ldx: usize, out: usize, ldo: usize): void {
  let s00 = f32x4.splat(0);
  let s01 = f32x4.splat(0);
  let s10 = f32x4.splat(0);
  let s11 = f32x4.splat(0);
  let s20 = f32x4.splat(0);
  let s21 = f32x4.splat(0);
  let s30 = f32x4.splat(0);
  let s31 = f32x4.splat(0);
  let w1 = w + ldx;
  let x1 = x + ldx;
  let x2 = x1 + ldx;
  let x3 = x2 + ldx;
  let k = n;
  for (; k >= 4; k -= 4) {
    const a = v128.load(w);
    const b = v128.load(w1);
    let token = v128.load(x);
    s00 = madd(a, token, s00);
    s01 = madd(b, token, s01);
    token = v128.load(x1);
    s10 = madd(a, token, s10);
    s11 = madd(b, token, s11);
    token = v128.load(x2);
    s20 = madd(a, token, s20);
    s21 = madd(b, token, s21);
    token = v128.load(x3);
    s30 = madd(a, token, s30);
    s31 = madd(b, token, s31);
    w += 16;
    w1 += 16;
    x += 16;
    x1 += 16;
    x2 += 16;
    x3 += 16;
  }
  addPair(out, s00, s01, k, w, w1, x);
  addPair(out + ldo, s10, s11, k, w, w1, x1);
  addPair(out + 2 * ldo, s20, s21, k, w, w1, x2);
  addPair(out + 3 * ldo, s30, s31, k, w, w1, x3);
}

/** out [2] += the lane sums of two partial products, and the `rest` < 4 products left at w, w1 and x. */
// @ts-ignore: decorator
@inline
function addPair(out: usize, s0: v128, s1: v128, rest: i32, w: usize, w1: usize, x: usize): void {
  store<f32>(out, load<f32>(out) + sumLanes(s0) + dotRest(rest, w, x));
  store<f32>(out, load<f32>(out, 4) + sumLanes(s1) + dotRest(rest, w1, x), 4);
}

/** out [4] += four rows of W times one token: four streams from memory at once. */
function dotFourByOne(n: i32, w: usize, x: usize, ldx: usize, out: usize): void {
  let s0 = f32x4.splat(0);
  let s1 = f32x4.splat(0);
  let s2 = f32x4.splat(0);
  let s3 = f32x4.splat(0);
  let w1 = w + ldx;
  let w2 = w1 + ldx;
  let w3 = w2 + ldx;
  let k = n;
  for (; k >= 4; k -= 4) {
    const token = v128.load(x);
    s0 = madd(v128.load(w), token, s0);
    s1 = madd(v128.load(w1), token, s1);
    s2 = madd(v128.load(w2), token, s2);
    s3 = madd(v128.load(w3), token, s3);
    x += 16;
    w += 16;
    w1 += 16;
    w2 += 16;
    w3 += 16;
  }
  addPair(out, s0, s1, k, w, w1, x);
  addPair(out + 8, s2, s3, k, w2, w3, x);
}

function dot(n: i32, w: usize, x: usize): f32 {
  let s = f32x4.splat(0);
  for (; n >= 4; n -= 4) {
    s = madd(v128.load(w), v128.load(x), s);
    w += 16;
    x += 16;
  }
  return sumLanes(s) + dotRest(n, w, x);
}

function dotRest(n: i32, w: usize, x: usize): f32 {
  let sum: f32 = 0;
  for (; n > 0; n--) {
    sum += load<f32>(w) * load<f32>(x);
    w += 4;
    x += 4;
  }
  return sum;
}
