// A micro-kernel (see micro-kernel.ts) of 3 rows and 12 columns that loads four floats of A at a
// time and spreads each lane by a shuffle: for engines that compile a spreading load badly, and for
// fused multiply-adds, which leave the shuffles' port free. B moves on at each step to need few
// distinct offsets: an engine that checks loads against the memory's size computes a limit for each.

import { madd } from "./simd";
import { storeRow } from "./tile-row";

/** c [3, 12] = A panel * B panel; as `microKernel`. */
export function threeByTwelveWide(
  depth: i32,
  a: usize,
  b: usize,
  c: usize,
  ldc: usize,
  overwrite: bool,
): void {
  let c00 = f32x4.splat(0);
  let c01 = f32x4.splat(0);
  let c02 = f32x4.splat(0);
  let c10 = f32x4.splat(0);
  let c11 = f32x4.splat(0);
  let c12 = f32x4.splat(0);
  let c20 = f32x4.splat(0);
  let c21 = f32x4.splat(0);
  let c22 = f32x4.splat(0);
  let row: v128;
  let b0: v128;
  let b1: v128;
  let b2: v128;
  let wide: v128;
  let end = a + <usize>((depth >> 2) * 48);
  while (a != end) {
    b0 = v128.load(b);
    b1 = v128.load(b, 16);
    b2 = v128.load(b, 32);
    wide = v128.load(a);
    row = v128.shuffle<f32>(wide, wide, 0, 0, 0, 0);
    c00 = madd(row, b0, c00);
    c01 = madd(row, b1, c01);
    c02 = madd(row, b2, c02);
    row = v128.shuffle<f32>(wide, wide, 1, 1, 1, 1);
    c10 = madd(row, b0, c10);
    c11 = madd(row, b1, c11);
    c12 = madd(row, b2, c12);
    row = v128.shuffle<f32>(wide, wide, 2, 2, 2, 2);
    c20 = madd(row, b0, c20);
    c21 = madd(row, b1, c21);
    c22 = madd(row, b2, c22);
    b += 48;
    b0 = v128.load(b);
    b1 = v128.load(b, 16);
    b2 = v128.load(b, 32);
    row = v128.shuffle<f32>(wide, wide, 3, 3, 3, 3);
    c00 = madd(row, b0, c00);
    c01 = madd(row, b1, c01);
    c02 = madd(row, b2, c02);
    wide = v128.load(a, 16);
    row = v128.shuffle<f32>(wide, wide, 0, 0, 0, 0);
    c10 = madd(row, b0, c10);
    c11 = madd(row, b1, c11);
    c12 = madd(row, b2, c12);
    row = v128.shuffle<f32>(wide, wide, 1, 1, 1, 1);
    c20 = madd(row, b0, c20);
    c21 = madd(row, b1, c21);
    c22 = madd(row, b2, c22);
    b += 48;
    b0 = v128.load(b);
    b1 = v128.load(b, 16);
    b2 = v128.load(b, 32);
    row = v128.shuffle<f32>(wide, wide, 2, 2, 2, 2);
    c00 = madd(row, b0, c00);
    c01 = madd(row, b1, c01);
    c02 = madd(row, b2, c02);
    row = v128.shuffle<f32>(wide, wide, 3, 3, 3, 3);
    c10 = madd(row, b0, c10);
    c11 = madd(row, b1, c11);
    c12 = madd(row, b2, c12);
    wide = v128.load(a, 32);
    row = v128.shuffle<f32>(wide, wide, 0, 0, 0, 0);
    c20 = madd(row, b0, c20);
    c21 = madd(row, b1, c21);
    c22 = madd(row, b2, c22);
    b += 48;
    b0 = v128.load(b);
    b1 = v128.load(b, 16);
    b2 = v128.load(b, 32);
    row = v128.shuffle<f32>(wide, wide, 1, 1, 1, 1);
    c00 = madd(row, b0, c00);
    c01 = madd(row, b1, c01);
    c02 = madd(row, b2, c02);
    row = v128.shuffle<f32>(wide, wide, 2, 2, 2, 2);
    c10 = madd(row, b0, c10);
    c11 = madd(row, b1, c11);
    c12 = madd(row, b2, c12);
    row = v128.shuffle<f32>(wide, wide, 3, 3, 3, 3);
    c20 = madd(row, b0, c20);
    c21 = madd(row, b1, c21);
    c22 = madd(row, b2, c22);
    b += 48;
    a += 48;
  }
  end = a + <usize>((depth & 3) * 12);
  while (a != end) {
    b0 = v128.load(b);
    b1 = v128.load(b, 16);
    b2 = v128.load(b, 32);
    row = v128.load32_splat(a);
    c00 = madd(row, b0, c00);
    c01 = madd(row, b1, c01);
    c02 = madd(row, b2, c02);
    row = v128.load32_splat(a, 4);
    c10 = madd(row, b0, c10);
    c11 = madd(row, b1, c11);
    c12 = madd(row, b2, c12);
    row = v128.load32_splat(a, 8);
    c20 = madd(row, b0, c20);
    c21 = madd(row, b1, c21);
    c22 = madd(row, b2, c22);
    a += 12;
    b += 48;
  }
  storeRow(c, overwrite, c00, c01, c02);
  storeRow(c + ldc, overwrite, c10, c11, c12);
  storeRow(c + 2 * ldc, overwrite, c20, c21, c22);
}
