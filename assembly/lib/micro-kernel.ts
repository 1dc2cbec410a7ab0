// The inner loop of every matrix product here: a 4x8 tile of C stays in eight registers while one
// panel of A and one of B are read once, front to back.
//
// Panels are depth-major: A's holds 4 consecutive floats for each k, B's holds 8. Four rows and
// two vectors of columns are what the 16 registers of x86-64 can hold when an engine (V8 before
// 13) hoists all loads of an iteration to its top.

import { madd } from "./simd";

/** Rows of a tile, and floats per k in a panel of A. */
export const MR: i32 = 4;
/** Columns of a tile, and floats per k in a panel of B. */
export const NR: i32 = 8;

/**
 * c [MR, NR] = A panel * B panel over `depth` >= 1 steps, added to c unless `overwrite`.
 *
 * @param ldc bytes between rows of c
 */
export function microKernel(
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
  let k = depth;
  do {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    let row = v128.load32_splat(a);
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
    a += 16;
    b += 32;
    k--;
  } while (k);
  if (!overwrite) {
    let from = c;
    c00 = f32x4.add(v128.load(from), c00);
    c01 = f32x4.add(v128.load(from, 16), c01);
    from += ldc;
    c10 = f32x4.add(v128.load(from), c10);
    c11 = f32x4.add(v128.load(from, 16), c11);
    from += ldc;
    c20 = f32x4.add(v128.load(from), c20);
    c21 = f32x4.add(v128.load(from, 16), c21);
    from += ldc;
    c30 = f32x4.add(v128.load(from), c30);
    c31 = f32x4.add(v128.load(from, 16), c31);
  }
  v128.store(c, c00);
  v128.store(c, c01, 16);
  c += ldc;
  v128.store(c, c10);
  v128.store(c, c11, 16);
  c += ldc;
  v128.store(c, c20);
  v128.store(c, c21, 16);
  c += ldc;
  v128.store(c, c30);
  v128.store(c, c31, 16);
}
