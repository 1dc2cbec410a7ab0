// Products of small row-major matrices that stay in the first-level cache and are read as stored. A 4x8
// tile of the result (4x4 at the right edge) stays in registers while k runs over the depth; these loops
// are generated (dense-tiles.mjs). By its two strides the left operand may be read transposed.

import { storedFourByEight, storedFourByFour } from "../../build/generated/dense-tiles";

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
      storedFourByEight(depth, left, leftRow, leftStep, right + at, rightStep, from, out + at, ld);
    }
    if (j < cols) {
      const at = <usize>j << 2;
      const from = add ? add + at : 0;
      storedFourByFour(depth, left, leftRow, leftStep, right + at, rightStep, from, out + at, ld);
    }
    left += leftRow << 2;
    out += ld << 2;
    if (add) add += ld << 2;
  }
}
