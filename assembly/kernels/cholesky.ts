// Cholesky factorisation and triangular inversion, blocked so that nearly all their work is matrix
// products on the shared micro-kernel; triangular operands are skipped through the shapes of
// lib/panels.ts. Each is a series of steps over ranges of rows or columns, which threads may share
// out: no element depends on how a range is cut, as long as cuts are multiples of 24 (of 96 for the
// inversion).
//
// The factorisation is right-looking, with strips of columns within strips. For each diagonal block
// D = L Lᵀ, what stands below it becomes P = P L⁻ᵀ. The columns to its right lose P Pᵀ: those of its
// strip at once, the others at the end of the strip. src/backends/wasm/cholesky.ts calls the steps.

import { BLOCK_BYTES, BLOCK_LD, factorDiagonal, invertDiagonal, NB } from "../lib/diagonal";
import { inverseScratch, invertColumns, invertDiagonals } from "../lib/inverse";
import { MR, NR } from "../lib/micro-kernel";
import { NC } from "../lib/multiply";
import { packRows, panelBytes } from "../lib/pack";
import { LOWER_RESULT, multiplyPanels, TILE_BYTES, UPPER_RIGHT } from "../lib/panels";

/** Columns of a diagonal block, and bytes of its inverse. */
export const CHOLESKY_BLOCK: i32 = NB;
export const CHOLESKY_BLOCK_BYTES: usize = BLOCK_BYTES;

/** Bytes of scratch for `choleskyPanel` with `rows` rows. */
export function choleskyPanelScratch(rows: i32): usize {
  return TILE_BYTES + panelBytes(NB, NB) + panelBytes(rows, NB);
}

/** Bytes of scratch for `choleskyUpdate` with `rows` rows and a product of `depth` columns. */
export function choleskyUpdateScratch(rows: i32, depth: i32): usize {
  return TILE_BYTES + panelBytes(rows, depth);
}

/**
 * Factors the diagonal block that starts at row p, a multiple of CHOLESKY_BLOCK.
 *
 * @param block CHOLESKY_BLOCK_BYTES, written: the inverse of its factor
 * @returns -1, or the row of the first pivot that was not positive
 */
export function choleskyPivot(n: i32, a: usize, p: i32, block: usize): i32 {
  const ld = <usize>n << 2;
  const width = min(NB, n - p);
  const diagonal = a + <usize>p * ld + (<usize>p << 2);
  const failed = factorDiagonal(width, diagonal, ld, block);
  if (failed >= 0) return p + failed;
  invertDiagonal(width, diagonal, ld, block);
  return -1;
}

/** Rows [first, last) of what stands below the block at p become those of the factor. */
export function choleskyPanel(
  n: i32,
  a: usize,
  p: i32,
  block: usize,
  first: i32,
  last: i32,
  scratch: usize,
): void {
  if (first >= last) return;
  const ld = <usize>n << 2;
  const width = min(NB, n - p);
  const bPanels = scratch + TILE_BYTES;
  const aPanels = bPanels + panelBytes(width, width);
  const rows = last - first;
  const to = a + <usize>first * ld + (<usize>p << 2);
  packRows(to, ld, rows, width, MR, 1, aPanels);
  packRows(block, BLOCK_LD, width, width, NR, 1, bPanels);
  multiplyPanels(UPPER_RIGHT, 0, rows, width, width, aPanels, bPanels, to, ld, true, scratch);
}

/**
 * What lies on or below the diagonal in rows [row, lastRow) and columns [col, lastCol) loses P Pᵀ. P is
 * the factor's columns [from, to), at most one block of k.
 *
 * @param panels rows [col, lastCol) of P, packed as B (`gemmPack`)
 */
export function choleskyUpdate(
  n: i32,
  a: usize,
  from: i32,
  to: i32,
  col: i32,
  lastCol: i32,
  row: i32,
  lastRow: i32,
  panels: usize,
  scratch: usize,
): void {
  const start = max(row, col);
  const cols = min(lastCol, lastRow) - col;
  if (start >= lastRow || cols <= 0) return;
  const ld = <usize>n << 2;
  const depth = to - from;
  const rows = lastRow - start;
  const aPanels = scratch + TILE_BYTES;
  packRows(a + <usize>start * ld + (<usize>from << 2), ld, rows, depth, MR, -1, aPanels);
  for (let j = 0; j < cols; j += NC) {
    const i = max(0, (col + j - start) / MR * MR);
    const aAt = aPanels + <usize>i * <usize>(depth << 2);
    const bAt = panels + <usize>j * <usize>(depth << 2);
    const c = a + <usize>(start + i) * ld + (<usize>(col + j) << 2);
    const offset = start + i - col - j;
    multiplyPanels(LOWER_RESULT, offset, rows - i, min(NC, cols - j), depth, aAt, bAt, c, ld, false, scratch);
  }
}

/** Zeros above the diagonal. */
export function choleskyClear(n: i32, a: usize): void {
  const ld = <usize>n << 2;
  for (let i = 0; i < n; i++) {
    memory.fill(a + <usize>i * ld + (<usize>(i + 1) << 2), 0, <usize>(n - i - 1) << 2);
  }
}

/** Bytes of scratch for either step of the inversion. */
export function choleskyInverseScratch(n: i32): usize {
  return inverseScratch(n);
}

/**
 * The first step of out [n, n] = inverse of the lower-triangular l [n, n]: inverts the diagonal blocks
 * of rows [first, last), both multiples of CHOLESKY_BLOCK or n, and zeros what stands right of them. `out`
 * may be l.
 */
export function choleskyInverseDiagonals(
  n: i32,
  l: usize,
  out: usize,
  first: i32,
  last: i32,
  scratch: usize,
): void {
  invertDiagonals(n, l, out, first, last, scratch);
}

/**
 * The second step: columns [first, last) of the inverse, both multiples of CHOLESKY_BLOCK or n, from row
 * `first` on. It reads no columns of l before those, and of l no diagonal blocks.
 *
 * @param diagonals [n, n], where the first step left its blocks
 * @param to takes the columns
 * @param toLd elements between its rows
 */
export function choleskyInverseColumns(
  n: i32,
  l: usize,
  diagonals: usize,
  to: usize,
  toLd: i32,
  first: i32,
  last: i32,
  scratch: usize,
): void {
  invertColumns(n, l, diagonals, to, <usize>toLd << 2, first, last, scratch);
}

/** Puts columns [first, last) that the second step left at `from`, rows close together, where they belong. */
export function choleskyInversePlace(n: i32, from: usize, out: usize, first: i32, last: i32): void {
  const bytes = <usize>(last - first) << 2;
  for (let i = first; i < n; i++) {
    const to = out + ((<usize>i * <usize>n + <usize>first) << 2);
    memory.copy(to, from + <usize>(i - first) * bytes, bytes);
  }
}

/** Reverses `size` floats in place, which turns a square matrix by half a turn. */
export function choleskyReverse(size: usize, a: usize): void {
  let front = a;
  let back = a + (size << 2);
  for (; front + 32 <= back; front += 16) {
    back -= 16;
    const first = v128.load(front);
    const last = v128.load(back);
    v128.store(front, v128.shuffle<f32>(last, last, 3, 2, 1, 0));
    v128.store(back, v128.shuffle<f32>(first, first, 3, 2, 1, 0));
  }
  for (; front + 8 <= back; front += 4) {
    back -= 4;
    const first = load<f32>(front);
    store<f32>(front, load<f32>(back));
    store<f32>(back, first);
  }
}
