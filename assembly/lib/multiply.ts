// C = alpha * A B for any shape and orientation, blocked for the caches: at most KC steps of k at a
// time, A packed large (up to MC rows, streamed), B packed small (NC columns, resident in the second
// level cache) or packed once before.
//
// Scratch: one overhanging tile, then B's panels, then A's.

import { DIVISIBLE, MR, NR } from "./micro-kernel";
import { packRows, panelBytes } from "./pack";
import { packColumns } from "./pack-columns";
import { FULL, multiplyPanels, TILE_BYTES } from "./panels";

const KC: i32 = 512;
/** Multiples of DIVISIBLE, as every cut of an operand should be. */
export const NC: i32 = 288;
export const MC: i32 = 2064;

/** How B is stored: as [k, n], as [n, k], or as `packWhole` leaves it. */
export const PLAIN: i32 = 0;
export const TRANSPOSED: i32 = 1;
export const PACKED: i32 = 2;

/** Steps of k in each block of k but the last; 0 for none. Nothing else may decide on it. */
export function blockDepth(k: i32): i32 {
  const blocks = (k + KC - 1) / KC;
  return blocks ? ((k + blocks - 1) / blocks + 3) & ~3 : 0;
}

/** Bytes of scratch for a product [m, k] by [k, n]. */
export function multiplyScratch(m: i32, n: i32, k: i32): usize {
  const depth = blockDepth(k);
  return TILE_BYTES + panelBytes(min(NC, n), depth) + panelBytes(min(MC, m), depth);
}

/** Bytes of all panels of B [k, n], for any shape of micro-kernel. */
export function packedBytes(n: i32, k: i32): usize {
  return <usize>((n + DIVISIBLE - 1) / DIVISIBLE) * <usize>(DIVISIBLE << 2) * <usize>k;
}

/** Bytes of a packed B for each step of k. */
function packedStep(n: i32): usize {
  return <usize>((n + NR - 1) / NR) * <usize>(NR << 2);
}

/**
 * Packs B as stored [n, k] for products with PACKED: block after block of k, each all panels.
 *
 * @param dst packedBytes(n, k)
 */
export function packWhole(n: i32, k: i32, b: usize, dst: usize): void {
  const ld = <usize>k << 2;
  const block = blockDepth(k);
  for (let p = 0; p < k; p += block) {
    packRows(b + (<usize>p << 2), ld, n, min(block, k - p), NR, 1, dst + <usize>p * packedStep(n));
  }
}

/**
 * c [m, n] = alpha * A [m, k] B [k, n], added to c unless `overwrite`. An element's value depends on
 * its row of A, its column of B and k alone, so a caller may cut m and n as it likes.
 *
 * @param transposeA a holds [k, m]
 * @param layout how b is stored
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
  layout: i32,
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
  const block = blockDepth(k);
  const bPanels = scratch + TILE_BYTES;
  const aPanels = bPanels + panelBytes(min(NC, n), block);
  for (let i = 0; i < m; i += MC) {
    const rows = min(MC, m - i);
    for (let p = 0; p < k; p += block) {
      const depth = min(block, k - p);
      const aAt = a + (transposeA ? <usize>p * lda + (<usize>i << 2) : <usize>i * lda + (<usize>p << 2));
      if (transposeA) packColumns(aAt, lda, depth, rows, MR, alpha, aPanels);
      else packRows(aAt, lda, rows, depth, MR, alpha, aPanels);
      for (let j = 0; j < n; j += NC) {
        const cols = min(NC, n - j);
        let panels = bPanels;
        if (layout == PACKED) {
          panels = b + <usize>p * packedStep(n) + <usize>j * <usize>(depth << 2);
        } else if (layout == TRANSPOSED) {
          packRows(b + <usize>j * ldb + (<usize>p << 2), ldb, cols, depth, NR, 1, panels);
        } else {
          packColumns(b + <usize>p * ldb + (<usize>j << 2), ldb, depth, cols, NR, 1, panels);
        }
        const to = c + <usize>i * ldc + (<usize>j << 2);
        multiplyPanels(FULL, 0, rows, cols, depth, aPanels, panels, to, ldc, overwrite && p == 0, scratch);
      }
    }
  }
}
