// Multiplies packed panels: walks the tiles of a block of C along its rows, so that one panel of A
// stays in the first-level cache while the block of B comes from the second level. Knows which
// tiles, and which stretch of k, a triangular operand or result leaves to compute.

import { MR, NR, microKernel } from "./micro-kernel";

/** All of C, all of k. */
export const FULL: i32 = 0;
/** Only tiles of C that touch row <= column. */
export const UPPER_RESULT: i32 = 1;
/** Only tiles of C that touch row >= column. */
export const LOWER_RESULT: i32 = 2;
/** A is zero where k > row. */
export const LOWER_LEFT: i32 = 3;
/** B is zero where k < column. */
export const LOWER_RIGHT: i32 = 4;
/** B is zero where k > column. */
export const UPPER_RIGHT: i32 = 5;

/** Bytes of scratch for a tile that overhangs C. */
export const TILE_BYTES: usize = <usize>(MR * NR * 4);

/**
 * c [rows, cols] = A panels * B panels, added to c unless `overwrite`. The stretch of k left by a
 * triangular operand must not be empty.
 *
 * @param shape FULL, or which triangle matters; for results `offset` is the first row of the block
 *   minus its first column, for operands both start at k = 0
 * @param ldc bytes between rows of c
 * @param tile TILE_BYTES of scratch
 */
export function multiplyPanels(
  shape: i32,
  offset: i32,
  rows: i32,
  cols: i32,
  depth: i32,
  a: usize,
  b: usize,
  c: usize,
  ldc: usize,
  overwrite: bool,
  tile: usize,
): void {
  for (let i = 0; i < rows; i += MR) {
    const aPanel = a + <usize>i * <usize>(depth << 2);
    for (let j = 0; j < cols; j += NR) {
      let first = 0;
      let last = depth;
      if (shape == UPPER_RESULT) {
        if (j + NR <= i + offset) continue;
      } else if (shape == LOWER_RESULT) {
        if (j >= i + offset + MR) break;
      } else if (shape == LOWER_LEFT) {
        last = min(depth, i + MR);
      } else if (shape == LOWER_RIGHT) {
        first = j;
      } else if (shape == UPPER_RIGHT) {
        last = min(depth, j + NR);
      }
      const from = aPanel + <usize>(first * MR * 4);
      const bPanel = b + <usize>j * <usize>(depth << 2) + <usize>(first * NR * 4);
      const to = c + <usize>i * ldc + (<usize>j << 2);
      if (i + MR <= rows && j + NR <= cols) {
        microKernel(last - first, from, bPanel, to, ldc, overwrite);
      } else {
        microKernel(last - first, from, bPanel, tile, <usize>(NR * 4), true);
        moveTile(tile, to, ldc, min(MR, rows - i), min(NR, cols - j), overwrite);
      }
    }
  }
}

function moveTile(tile: usize, c: usize, ldc: usize, rows: i32, cols: i32, overwrite: bool): void {
  for (let r = 0; r < rows; r++) {
    for (let j = 0; j < cols; j++) {
      const at = <usize>j << 2;
      const value = load<f32>(tile + at);
      store<f32>(c + at, overwrite ? value : load<f32>(c + at) + value);
    }
    tile += <usize>(NR * 4);
    c += ldc;
  }
}
