// C = alpha * A B for any shape and orientation, blocked for the caches: KC steps of k at a time,
// A packed large (up to MC rows, streamed), B packed small (KC x NC floats, resident in the second
// level cache).
//
// Scratch: one overhanging tile, then B's panels, then A's.

import { MR, NR } from "./micro-kernel";
import { packColumns, packRows, panelBytes } from "./pack";
import { FULL, multiplyPanels, TILE_BYTES } from "./panels";

export const KC: i32 = 384;
export const NC: i32 = 384;
export const MC: i32 = 2048;

/** Bytes of scratch for a product [m, k] by [k, n]. */
export function multiplyScratch(m: i32, n: i32, k: i32): usize {
  const depth = min(KC, k);
  return TILE_BYTES + panelBytes(min(NC, n), depth, NR) + panelBytes(min(MC, m), depth, MR);
}

/**
 * c [m, n] = alpha * A [m, k] B [k, n], added to c unless `overwrite`.
 *
 * @param transposeA a holds [k, m]
 * @param transposeB b holds [n, k]
 * @param lda bytes between rows as stored; ldb, ldc likewise
 * @param scratch multiplyScratch(m, n, k) bytes
 */
export function multiply(
  m: i32,
  n: i32,
  k: i32,
  a: usize,
  lda: usize,
  transposeA: bool,
  b: usize,
  ldb: usize,
  transposeB: bool,
  c: usize,
  ldc: usize,
  alpha: f32,
  overwrite: bool,
  scratch: usize,
): void {
  if (k == 0) {
    if (overwrite) for (let i = 0; i < m; i++) memory.fill(c + <usize>i * ldc, 0, <usize>n << 2);
    return;
  }
  const bPanels = scratch + TILE_BYTES;
  const aPanels = bPanels + panelBytes(min(NC, n), min(KC, k), NR);
  for (let i = 0; i < m; i += MC) {
    const rows = min(MC, m - i);
    for (let p = 0; p < k; p += KC) {
      const depth = min(KC, k - p);
      const aAt = a + (transposeA ? <usize>p * lda + (<usize>i << 2) : <usize>i * lda + (<usize>p << 2));
      if (transposeA) packColumns(aAt, lda, depth, rows, MR, alpha, aPanels);
      else packRows(aAt, lda, rows, depth, MR, alpha, aPanels);
      for (let j = 0; j < n; j += NC) {
        const cols = min(NC, n - j);
        const bAt = b + (transposeB ? <usize>j * ldb + (<usize>p << 2) : <usize>p * ldb + (<usize>j << 2));
        if (transposeB) packRows(bAt, ldb, cols, depth, NR, 1, bPanels);
        else packColumns(bAt, ldb, depth, cols, NR, 1, bPanels);
        const to = c + <usize>i * ldc + (<usize>j << 2);
        multiplyPanels(FULL, 0, rows, cols, depth, aPanels, bPanels, to, ldc, overwrite && p == 0, scratch);
      }
    }
  }
}
