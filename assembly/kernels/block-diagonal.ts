// x [tokens, cols] times a block-diagonal matrix. Four tokens and more: a block is transposed once
// and multiplied as small tiles, x read as stored. Fewer tokens, or blocks that are no multiple
// of 4: dot products with the block's rows, four rows at a time, whose four partial sums are added
// across lanes by one transpose.

import { transposeFourRows } from "../lib/pack";
import { madd, sumLanesOfFour } from "../lib/simd";
import { tileProduct } from "../lib/tile";

/** Bytes of scratch for blocks of `size`: one transposed block. */
export function blockDiagonalScratch(size: i32): usize {
  return <usize>(size * size) << 2;
}

/**
 * out [tokens, cols]: stretch k of each row = blocks[k] [size, size] times that stretch of x.
 *
 * @param cols a multiple of size
 */
export function blockDiagonalMultiply(
  tokens: i32,
  cols: i32,
  size: i32,
  x: usize,
  blocks: usize,
  out: usize,
  scratch: usize,
): void {
  const ld = <usize>cols << 2;
  const width = <usize>size << 2;
  const tiled = size & 3 ? 0 : tokens & ~3;
  for (let start = 0; start < cols; start += size) {
    if (tiled > 0) {
      for (let i = 0; i < size; i += 4) {
        const from = blocks + <usize>i * width;
        transposeFourRows(from, width, size, 1, scratch + (<usize>i << 2), width);
      }
      tileProduct(tiled, size, size, x, ld, 4, scratch, width, 0, out, ld);
    }
    for (let t = <usize>tiled; t < <usize>tokens; t++) {
      multiplyVector(size, blocks, x + t * ld, out + t * ld);
    }
    x += width;
    out += width;
    blocks += <usize>size * width;
  }
}

/** out [n] = m [n, n] x [n]. */
function multiplyVector(n: i32, m: usize, x: usize, out: usize): void {
  const ld = <usize>n << 2;
  let rows = n;
  for (; rows >= 4; rows -= 4) {
    v128.store(out, fourDots(n, m, ld, x));
    m += ld << 2;
    out += 16;
  }
  for (; rows > 0; rows--) {
    let sum: f32 = 0;
    for (let i: usize = 0; i < ld; i += 4) sum += load<f32>(m + i) * load<f32>(x + i);
    store<f32>(out, sum);
    m += ld;
    out += 4;
  }
}

// @ts-ignore: decorator
@inline
function fourDots(n: i32, m0: usize, ld: usize, x: usize): v128 {
  let s0 = f32x4.splat(0);
  let s1 = f32x4.splat(0);
  let s2 = f32x4.splat(0);
  let s3 = f32x4.splat(0);
  let m1 = m0 + ld;
  let m2 = m1 + ld;
  let m3 = m2 + ld;
  for (; n >= 4; n -= 4) {
    const v = v128.load(x);
    s0 = madd(v128.load(m0), v, s0);
    s1 = madd(v128.load(m1), v, s1);
    s2 = madd(v128.load(m2), v, s2);
    s3 = madd(v128.load(m3), v, s3);
    x += 16;
    m0 += 16;
    m1 += 16;
    m2 += 16;
    m3 += 16;
  }
  let sums = sumLanesOfFour(s0, s1, s2, s3);
  for (; n > 0; n--) {
    let column = v128.load32_zero(m0);
    column = v128.load_lane<f32>(m1, column, 1);
    column = v128.load_lane<f32>(m2, column, 2);
    column = v128.load_lane<f32>(m3, column, 3);
    sums = madd(column, v128.load32_splat(x), sums);
    x += 4;
    m0 += 4;
    m1 += 4;
    m2 += 4;
    m3 += 4;
  }
  return sums;
}
