// A micro-kernel (see micro-kernel.ts) of 6 rows and 8 columns for V8 from 13 on, where what the
// processor can issue is the limit: a lane of A is loaded and spread by one instruction. Its twelve
// sums cover the latency of a fused multiply-add. V8 finds the offset of a spreading load in a
// register, so A moves on at every step to need few of them.

import { madd } from "./simd";
import { storePair } from "./tile-row";

/** c [6, 8] = A panel * B panel; as `microKernel`. */
export function sixByEightSplat(
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
  let c50 = f32x4.splat(0);
  let c51 = f32x4.splat(0);
  let row: v128;
  let b0: v128;
  let b1: v128;
  let end = a + <usize>((depth >> 2) * 96);
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
    row = v128.load32_splat(a, 20);
    c50 = madd(row, b0, c50);
    c51 = madd(row, b1, c51);
    a += 24;
    b0 = v128.load(b, 32);
    b1 = v128.load(b, 48);
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
    row = v128.load32_splat(a, 20);
    c50 = madd(row, b0, c50);
    c51 = madd(row, b1, c51);
    a += 24;
    b += 64;
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
    row = v128.load32_splat(a, 20);
    c50 = madd(row, b0, c50);
    c51 = madd(row, b1, c51);
    a += 24;
    b0 = v128.load(b, 32);
    b1 = v128.load(b, 48);
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
    row = v128.load32_splat(a, 20);
    c50 = madd(row, b0, c50);
    c51 = madd(row, b1, c51);
    a += 24;
    b += 64;
  }
  end = a + <usize>((depth & 3) * 24);
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
    row = v128.load32_splat(a, 20);
    c50 = madd(row, b0, c50);
    c51 = madd(row, b1, c51);
    a += 24;
    b += 32;
  }
  storePair(c, overwrite, c00, c01);
  storePair(c + ldc, overwrite, c10, c11);
  storePair(c + 2 * ldc, overwrite, c20, c21);
  storePair(c + 3 * ldc, overwrite, c30, c31);
  storePair(c + 4 * ldc, overwrite, c40, c41);
  storePair(c + 5 * ldc, overwrite, c50, c51);
}
