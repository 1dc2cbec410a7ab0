// C = alpha * A B for any shape and orientation, blocked for the caches: at most KC steps of k at a
// time. A is packed in large blocks of up to MC rows, which are streamed, and B in small ones of NC
// columns, which stay in the second level cache. Either may be packed before, so that parts of a
// product share its panels.
//
// Scratch: one overhanging tile, then B's panels, then A's.

import { MAX_NR, MR, NR } from "./micro-kernel";
import { packRows, panelBytes } from "./pack";
import { packColumns } from "./pack-columns";
import { FULL, multiplyPanels, TILE_BYTES } from "./panels";

const KC: i32 = 512;
/** Whole tiles of every shape of micro-kernel: a multiple of every NR, and of every MR. */
export const NC: i32 = 288;
const MC: i32 = 2040;

/** How the lines of an operand, rows of A or columns of B, are stored: as rows, as columns, or packed. */
export const IN_ROWS: i32 = 0;
export const IN_COLUMNS: i32 = 1;
export const PACKED: i32 = 2;

/**
 * Steps of k in each block of k but the last, a multiple of 8; 0 for none. Results depend on it, so nothing
 * but k may decide it.
 */
export function blockDepth(k: i32): i32 {
  const blocks = (k + KC - 1) / KC;
  return blocks ? ((k + blocks - 1) / blocks + 7) & ~7 : 0;
}

/** Bytes of scratch for a product [m, k] by [k, n]; m or n is 0 for an operand that is packed before. */
export function multiplyScratch(m: i32, n: i32, k: i32): usize {
  const depth = blockDepth(k);
  return TILE_BYTES + panelsOf(min(NC, n), depth) + panelsOf(min(MC, m), depth);
}

function panelsOf(count: i32, depth: i32): usize {
  return count ? panelBytes(count, depth) : 0;
}

/** Bytes of a packed operand of `count` lines, for any shape of micro-kernel. */
export function packedBytes(count: i32, k: i32): usize {
  return <usize>(count + MAX_NR - 1) * (<usize>k << 2);
}

/** Its bytes for each step of k. */
function packedStep(count: i32, width: i32): usize {
  return <usize>((count + width - 1) / width * width) << 2;
}

/**
 * Packs lines [first, last) of an operand that has `count` of them. The result holds one block of k after
 * the other, each with all panels. `first` is a multiple of all sides of tiles.
 *
 * @param ld bytes between rows as stored
 * @param layout IN_ROWS or IN_COLUMNS
 * @param width MR for A, NR for B
 * @param dst packedBytes(count, k)
 */
export function packOperand(
  first: i32,
  last: i32,
  count: i32,
  k: i32,
  src: usize,
  ld: usize,
  layout: i32,
  width: i32,
  scale: f32,
  dst: usize,
): void {
  const block = blockDepth(k);
  const step = packedStep(count, width);
  for (let p = 0; p < k; p += block) {
    const depth = min(block, k - p);
    const to = dst + <usize>p * step + <usize>first * <usize>(depth << 2);
    packBlock(src, ld, layout, first, last - first, p, depth, width, scale, to);
  }
}

/** `lines` of an operand from `line` on, in steps [p, p + depth) of k. */
function packBlock(
  src: usize,
  ld: usize,
  layout: i32,
  line: i32,
  lines: i32,
  p: i32,
  depth: i32,
  width: i32,
  scale: f32,
  dst: usize,
): void {
  if (layout == IN_COLUMNS) {
    packColumns(src + <usize>p * ld + (<usize>line << 2), ld, depth, lines, width, scale, dst);
  } else {
    packRows(src + <usize>line * ld + (<usize>p << 2), ld, lines, depth, width, scale, dst);
  }
}

/**
 * c [m, n] = alpha * A [m, k] B [k, n], added to c unless `overwrite`. An element's value depends on
 * its row of A, its column of B and k alone, so a caller may cut m and n as it likes.
 *
 * @param lda bytes between rows as stored; ldb, ldc likewise
 * @param alpha has no effect on an A that is packed before; it may have been scaled then
 * @param scratch multiplyScratch(m, n, k) bytes
 */
export function multiply(
  m: i32,
  n: i32,
  k: i32,
  a: usize,
  lda: usize,
  layoutA: i32,
  b: usize,
  ldb: usize,
  layoutB: i32,
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
  const aPanels = bPanels + panelsOf(layoutB == PACKED ? 0 : min(NC, n), block);
  for (let i = 0; i < m; i += MC) {
    const rows = min(MC, m - i);
    for (let p = 0; p < k; p += block) {
      const depth = min(block, k - p);
      let aAt = aPanels;
      if (layoutA == PACKED) {
        aAt = a + <usize>p * packedStep(m, MR) + <usize>i * <usize>(depth << 2);
      } else {
        packBlock(a, lda, layoutA, i, rows, p, depth, MR, alpha, aPanels);
      }
      for (let j = 0; j < n; j += NC) {
        const cols = min(NC, n - j);
        let bAt = bPanels;
        if (layoutB == PACKED) {
          bAt = b + <usize>p * packedStep(n, NR) + <usize>j * <usize>(depth << 2);
        } else {
          packBlock(b, ldb, layoutB, j, cols, p, depth, NR, 1, bPanels);
        }
        const to = c + <usize>i * ldc + (<usize>j << 2);
        multiplyPanels(FULL, 0, rows, cols, depth, aAt, bAt, to, ldc, overwrite && p == 0, scratch);
      }
    }
  }
}
