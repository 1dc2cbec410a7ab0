// A micro-kernel (see micro-kernel.ts) of 5 rows and 8 columns that loads four floats of A at a time
// and spreads each lane by a shuffle: for engines that compile a spreading load badly or check each
// load, and for fused multiply-adds, which leave the shuffles' port free.

import { madd } from "./simd";
import { storePair } from "./tile-row";

/** c [5, 8] = A panel * B panel; as `microKernel`. */
export function fiveByEightWide(
  depth: i32,
  a: usize,
  b: usize,
  c: usize,
  ldc: usize,
  overwrite: bool,
): void {
  let c00 = f32x4.splat(0);
  let c01 = f32x4.splat(0);
  let c10 = f32x4.splat(0);
  let c11 = f32x4.splat(0);
  let c20 = f32x4.splat(0);
  let c21 = f32x4.splat(0);
  let c30 = f32x4.splat(0);
  let c31 = f32x4.splat(0);
  let c40 = f32x4.splat(0);
  let c41 = f32x4.splat(0);
  let row: v128;
  let b0: v128;
  let b1: v128;
  let wide: v128;
  let end = a + <usize>((depth >> 2) * 80);
  while (a != end) {
    b0 = v128.load(b);
    b1 = v128.load(b, 16);
    wide = v128.load(a);
    row = v128.shuffle<f32>(wide, wide, 0, 0, 0, 0);
    c00 = madd(row, b0, c00);
    c01 = madd(row, b1, c01);
    row = v128.shuffle<f32>(wide, wide, 1, 1, 1, 1);
    c10 = madd(row, b0, c10);
    c11 = madd(row, b1, c11);
    row = v128.shuffle<f32>(wide, wide, 2, 2, 2, 2);
    c20 = madd(row, b0, c20);
    c21 = madd(row, b1, c21);
    row = v128.shuffle<f32>(wide, wide, 3, 3, 3, 3);
    c30 = madd(row, b0, c30);
    c31 = madd(row, b1, c31);
    wide = v128.load(a, 16);
    row = v128.shuffle<f32>(wide, wide, 0, 0, 0, 0);
    c40 = madd(row, b0, c40);
    c41 = madd(row, b1, c41);
    b0 = v128.load(b, 32);
    b1 = v128.load(b, 48);
    row = v128.shuffle<f32>(wide, wide, 1, 1, 1, 1);
    c00 = madd(row, b0, c00);
    c01 = madd(row, b1, c01);
    row = v128.shuffle<f32>(wide, wide, 2, 2, 2, 2);
    c10 = madd(row, b0, c10);
    c11 = madd(row, b1, c11);
    row = v128.shuffle<f32>(wide, wide, 3, 3, 3, 3);
    c20 = madd(row, b0, c20);
    c21 = madd(row, b1, c21);
    wide = v128.load(a, 32);
    row = v128.shuffle<f32>(wide, wide, 0, 0, 0, 0);
    c30 = madd(row, b0, c30);
    c31 = madd(row, b1, c31);
    row = v128.shuffle<f32>(wide, wide, 1, 1, 1, 1);
    c40 = madd(row, b0, c40);
    c41 = madd(row, b1, c41);
    b0 = v128.load(b, 64);
    b1 = v128.load(b, 80);
    row = v128.shuffle<f32>(wide, wide, 2, 2, 2, 2);
    c00 = madd(row, b0, c00);
    c01 = madd(row, b1, c01);
    row = v128.shuffle<f32>(wide, wide, 3, 3, 3, 3);
    c10 = madd(row, b0, c10);
    c11 = madd(row, b1, c11);
    wide = v128.load(a, 48);
    row = v128.shuffle<f32>(wide, wide, 0, 0, 0, 0);
    c20 = madd(row, b0, c20);
    c21 = madd(row, b1, c21);
    row = v128.shuffle<f32>(wide, wide, 1, 1, 1, 1);
    c30 = madd(row, b0, c30);
    c31 = madd(row, b1, c31);
    row = v128.shuffle<f32>(wide, wide, 2, 2, 2, 2);
    c40 = madd(row, b0, c40);
    c41 = madd(row, b1, c41);
    b0 = v128.load(b, 96);
    b1 = v128.load(b, 112);
    row = v128.shuffle<f32>(wide, wide, 3, 3, 3, 3);
    c00 = madd(row, b0, c00);
    c01 = madd(row, b1, c01);
    wide = v128.load(a, 64);
    row = v128.shuffle<f32>(wide, wide, 0, 0, 0, 0);
    c10 = madd(row, b0, c10);
    c11 = madd(row, b1, c11);
    row = v128.shuffle<f32>(wide, wide, 1, 1, 1, 1);
    c20 = madd(row, b0, c20);
    c21 = madd(row, b1, c21);
    row = v128.shuffle<f32>(wide, wide, 2, 2, 2, 2);
    c30 = madd(row, b0, c30);
    c31 = madd(row, b1, c31);
    row = v128.shuffle<f32>(wide, wide, 3, 3, 3, 3);
    c40 = madd(row, b0, c40);
    c41 = madd(row, b1, c41);
    a += 80;
    b += 128;
  }
  end = a + <usize>((depth & 3) * 20);
  while (a != end) {
    b0 = v128.load(b);
    b1 = v128.load(b, 16);
    row = v128.load32_splat(a);
    c00 = madd(row, b0, c00);
    c01 = madd(row, b1, c01);
    row = v128.load32_splat(a, 4);
    c10 = madd(row, b0, c10);
    c11 = madd(row, b1, c11);
    row = v128.load32_splat(a, 8);
    c20 = madd(row, b0, c20);
    c21 = madd(row, b1, c21);
    row = v128.load32_splat(a, 12);
    c30 = madd(row, b0, c30);
    c31 = madd(row, b1, c31);
    row = v128.load32_splat(a, 16);
    c40 = madd(row, b0, c40);
    c41 = madd(row, b1, c41);
    a += 20;
    b += 32;
  }
  storePair(c, overwrite, c00, c01);
  storePair(c + ldc, overwrite, c10, c11);
  storePair(c + 2 * ldc, overwrite, c20, c21);
  storePair(c + 3 * ldc, overwrite, c30, c31);
  storePair(c + 4 * ldc, overwrite, c40, c41);
}
