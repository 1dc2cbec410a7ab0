// Products of small row-major matrices that stay in the first-level cache, read as stored: a 4x8
// tile of the result lives in registers (4x4 at the right edge) while k runs over the depth.
// The left operand may be read transposed, by its two strides.

import { madd } from "./simd";

/**
 * out [rows, cols] = add + Left [rows, depth] Right [depth, cols]; rows and cols are multiples
 * of 4, depth >= 1.
 *
 * @param leftRow bytes between rows of Left, leftStep between its columns
 * @param rightStep bytes between rows of Right
 * @param add matrix laid out like out, or 0; may be out
 * @param ld bytes between rows of out
 */
export function tileProduct(
  rows: i32,
  cols: i32,
  depth: i32,
  left: usize,
  leftRow: usize,
  leftStep: usize,
  right: usize,
  rightStep: usize,
  add: usize,
  out: usize,
  ld: usize,
): void {
  for (let i = 0; i < rows; i += 4) {
    let j = 0;
    for (; j + 8 <= cols; j += 8) {
      const at = <usize>j << 2;
      const from = add ? add + at : 0;
      fourByEight(depth, left, leftRow, leftStep, right + at, rightStep, from, out + at, ld);
    }
    if (j < cols) {
      const at = <usize>j << 2;
      const from = add ? add + at : 0;
      fourByFour(depth, left, leftRow, leftStep, right + at, rightStep, from, out + at, ld);
    }
    left += leftRow << 2;
    out += ld << 2;
    if (add) add += ld << 2;
  }
}

function fourByEight(
  depth: i32,
  l0: usize,
  leftRow: usize,
  leftStep: usize,
  right: usize,
  rightStep: usize,
  add: usize,
  out: usize,
  ld: usize,
): void {
  let c00 = f32x4.splat(0);
  let c01 = f32x4.splat(0);
  let c10 = f32x4.splat(0);
  let c11 = f32x4.splat(0);
  let c20 = f32x4.splat(0);
  let c21 = f32x4.splat(0);
  let c30 = f32x4.splat(0);
  let c31 = f32x4.splat(0);
  let l1 = l0 + leftRow;
  let l2 = l1 + leftRow;
  let l3 = l2 + leftRow;
  do {
    const r0 = v128.load(right);
    const r1 = v128.load(right, 16);
    let row = v128.load32_splat(l0);
    c00 = madd(row, r0, c00);
    c01 = madd(row, r1, c01);
    row = v128.load32_splat(l1);
    c10 = madd(row, r0, c10);
    c11 = madd(row, r1, c11);
    row = v128.load32_splat(l2);
    c20 = madd(row, r0, c20);
    c21 = madd(row, r1, c21);
    row = v128.load32_splat(l3);
    c30 = madd(row, r0, c30);
    c31 = madd(row, r1, c31);
    l0 += leftStep;
    l1 += leftStep;
    l2 += leftStep;
    l3 += leftStep;
    right += rightStep;
    depth--;
  } while (depth);
  if (add) {
    c00 = f32x4.add(v128.load(add), c00);
    c01 = f32x4.add(v128.load(add, 16), c01);
    add += ld;
    c10 = f32x4.add(v128.load(add), c10);
    c11 = f32x4.add(v128.load(add, 16), c11);
    add += ld;
    c20 = f32x4.add(v128.load(add), c20);
    c21 = f32x4.add(v128.load(add, 16), c21);
    add += ld;
    c30 = f32x4.add(v128.load(add), c30);
    c31 = f32x4.add(v128.load(add, 16), c31);
  }
  v128.store(out, c00);
  v128.store(out, c01, 16);
  out += ld;
  v128.store(out, c10);
  v128.store(out, c11, 16);
  out += ld;
  v128.store(out, c20);
  v128.store(out, c21, 16);
  out += ld;
  v128.store(out, c30);
  v128.store(out, c31, 16);
}

function fourByFour(
  depth: i32,
  l0: usize,
  leftRow: usize,
  leftStep: usize,
  right: usize,
  rightStep: usize,
  add: usize,
  out: usize,
  ld: usize,
): void {
  let c0 = f32x4.splat(0);
  let c1 = f32x4.splat(0);
  let c2 = f32x4.splat(0);
  let c3 = f32x4.splat(0);
  let l1 = l0 + leftRow;
  let l2 = l1 + leftRow;
  let l3 = l2 + leftRow;
  do {
    const r = v128.load(right);
    c0 = madd(v128.load32_splat(l0), r, c0);
    c1 = madd(v128.load32_splat(l1), r, c1);
    c2 = madd(v128.load32_splat(l2), r, c2);
    c3 = madd(v128.load32_splat(l3), r, c3);
    l0 += leftStep;
    l1 += leftStep;
    l2 += leftStep;
    l3 += leftStep;
    right += rightStep;
    depth--;
  } while (depth);
  if (add) {
    c0 = f32x4.add(v128.load(add), c0);
    c1 = f32x4.add(v128.load(add + ld), c1);
    c2 = f32x4.add(v128.load(add + 2 * ld), c2);
    c3 = f32x4.add(v128.load(add + 3 * ld), c3);
  }
  v128.store(out, c0);
  v128.store(out + ld, c1);
  v128.store(out + 2 * ld, c2);
  v128.store(out + 3 * ld, c3);
}
