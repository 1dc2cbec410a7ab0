// The 2:4 product with one token. Four pairs of rows are taken at once, a quarter of all pairs apart,
// so that each of their memory streams runs on to the end of its quarter.

import { madd } from "./simd";
import { fourRows, onePair, select } from "./two-four-swizzle";

/**
 * out [rows] = x [4 * groups] W^T + bias.
 *
 * @param bias [rows], or 0 for none
 */
export function vectorLinear(
  x: usize,
  pairs: usize,
  codes: usize,
  out: usize,
  bias: usize,
  rows: i32,
  groups: i32,
): void {
  const vStep = <usize>groups << 4;
  const quarter = <usize>(rows >> 3);
  for (let i: usize = 0; i < quarter; i++) {
    fourPairs(x, pairs, codes, groups, quarter, out, bias);
    pairs += vStep;
    codes += <usize>groups;
    out += 8;
    if (bias) bias += 8;
  }
  pairs += 3 * quarter * vStep;
  codes += 3 * quarter * <usize>groups;
  out += 24 * quarter;
  if (bias) bias += 24 * quarter;
  for (let row = <i32>quarter * 8; row < rows; row += 2) {
    onePair(x, pairs, codes, groups, out, bias, row + 1 < rows);
    pairs += vStep;
    codes += <usize>groups;
    out += 8;
    if (bias) bias += 8;
  }
}

/** One token's products with four pairs that are `distance` pairs apart. */
function fourPairs(
  x: usize,
  v0: usize,
  c0: usize,
  groups: i32,
  distance: usize,
  out: usize,
  bias: usize,
): void {
  const cStep = distance * <usize>groups;
  let v1 = v0 + (cStep << 4);
  let v2 = v1 + (cStep << 4);
  let v3 = v2 + (cStep << 4);
  let c1 = c0 + cStep;
  let c2 = c1 + cStep;
  let c3 = c2 + cStep;
  let s0 = f32x4.splat(0);
  let s1 = f32x4.splat(0);
  let s2 = f32x4.splat(0);
  let s3 = f32x4.splat(0);
  for (; groups > 0; groups--) {
    const four = v128.load(x);
    s0 = madd(v128.load(v0), select(four, load<u8>(c0)), s0);
    s1 = madd(v128.load(v1), select(four, load<u8>(c1)), s1);
    s2 = madd(v128.load(v2), select(four, load<u8>(c2)), s2);
    s3 = madd(v128.load(v3), select(four, load<u8>(c3)), s3);
    x += 16;
    v0 += 16;
    v1 += 16;
    v2 += 16;
    v3 += 16;
    c0++;
    c1++;
    c2++;
    c3++;
  }
  storeTwoPairs(fourRows(s0, s1), distance, out, bias);
  storeTwoPairs(fourRows(s2, s3), distance, out + 16 * distance, bias ? bias + 16 * distance : 0);
}

function storeTwoPairs(sums: v128, distance: usize, out: usize, bias: usize): void {
  if (bias) {
    const first = v128.load64_zero(bias);
    sums = f32x4.add(sums, v128.load_lane<u64>(bias + 8 * distance, first, 1));
  }
  v128.store_lane<u64>(out, sums, 0);
  v128.store_lane<u64>(out + 8 * distance, sums, 1);
}
