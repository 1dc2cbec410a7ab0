// Multiplies packed panels: walks the tiles of a block of C along its rows, so that one panel of A
// stays in the first-level cache while the block of B comes from the second level. Knows which
// tiles, and which stretch of k, a triangular operand or result leaves to compute.

import { MAX_MR, MAX_NR, microKernel, MR, NR } from "./micro-kernel";

/** All of C, all of k. */
export const FULL: i32 = 0;
/** Only tiles of C that touch row <= column. */
export const UPPER_RESULT: i32 = 1;
/** Only tiles of C that touch row >= column. */
export const LOWER_RESULT: i32 = 2;
/** A is zero where k > row. */
export const LOWER_LEFT: i32 = 3;
/** B is zero where k + offset < column. */
export const LOWER_RIGHT: i32 = 4;
/** B is zero where k > column. */
export const UPPER_RIGHT: i32 = 5;

/** Bytes of scratch for a tile that overhangs C. */
export const TILE_BYTES: usize = <usize>(MAX_MR * MAX_NR * 4);

/**
 * c [rows, cols] = A panels * B panels, added to c unless `overwrite`. The stretch of k left by a
 * triangular operand must not be empty.
 *
 * @param shape FULL, or which triangle matters
 * @param offset for a result, the first row of the block minus its first column; for LOWER_RIGHT, the first
 *   k. The other operands start at k = 0
 * @param ldc bytes between rows of c
 * @param tile TILE_BYTES of scratch
 * @param room steps of k that a panel of B has room for
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
  room: i32 = depth,
): void {
  const height = MR;
  const width = NR;
  for (let i = 0; i < rows; i += height) {
    const aPanel = a + <usize>i * <usize>(depth << 2);
    for (let j = 0; j < cols; j += width) {
      let first = 0;
      let last = depth;
      if (shape == UPPER_RESULT) {
        if (j + width <= i + offset) continue;
      } else if (shape == LOWER_RESULT) {
        if (j >= i + offset + height) break;
      } else if (shape == LOWER_LEFT) {
        last = min(depth, i + height);
      } else if (shape == LOWER_RIGHT) {
        first = min(max(0, j - offset), depth - 1);
      } else if (shape == UPPER_RIGHT) {
        last = min(depth, j + width);
      }
      const from = aPanel + <usize>(first * height * 4);
      const bPanel = b + <usize>j * <usize>(room << 2) + <usize>(first * width * 4);
      const to = c + <usize>i * ldc + (<usize>j << 2);
      if (i + height <= rows && j + width <= cols) {
        microKernel(last - first, from, bPanel, to, ldc, overwrite);
      } else {
        microKernel(last - first, from, bPanel, tile, <usize>(width * 4), true);
        moveTile(tile, to, ldc, min(height, rows - i), min(width, cols - j), overwrite);
      }
    }
  }
}

function moveTile(tile: usize, c: usize, ldc: usize, rows: i32, cols: i32, overwrite: bool): void {
  const step = <usize>NR << 2;
  for (let r = 0; r < rows; r++) {
    let from = tile;
    let to = c;
    let j = cols;
    for (; j >= 4; j -= 4) {
      const value = v128.load(from);
      v128.store(to, overwrite ? value : f32x4.add(v128.load(to), value));
      from += 16;
      to += 16;
    }
    for (; j > 0; j--) {
      const value = load<f32>(from);
      store<f32>(to, overwrite ? value : load<f32>(to) + value);
      from += 4;
      to += 4;
    }
    tile += step;
    c += ldc;
  }
}
