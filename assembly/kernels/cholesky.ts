// Cholesky factorisation and triangular inversion, blocked by NB rows and columns so that nearly
// all their work is matrix products on the shared micro-kernel; triangular operands are skipped
// through the shapes of lib/panels.ts.
//
// Scratch: one diagonal block, one overhanging tile, B's panels, A's panels.

import { BLOCK_BYTES, BLOCK_LD, factorDiagonal, invertDiagonal, NB } from "../lib/diagonal";
import { MR, NR } from "../lib/micro-kernel";
import { NC } from "../lib/multiply";
import { packColumns, packRows, panelBytes } from "../lib/pack";
import {
  FULL,
  LOWER_LEFT,
  LOWER_RESULT,
  LOWER_RIGHT,
  multiplyPanels,
  TILE_BYTES,
  UPPER_RIGHT,
} from "../lib/panels";

/** Steps of k at a time in the inversion. */
const KC: i32 = 384;

export function choleskyScratch(n: i32): usize {
  return BLOCK_BYTES + TILE_BYTES + panelBytes(n, NB) + panelBytes(n, NB);
}

/**
 * In-place lower Cholesky factor of a [n, n], zero above the diagonal. Right-looking: with D the
 * diagonal block and P what stands below it, D = L Lᵀ, P = P L⁻ᵀ, then the trailing matrix loses
 * P Pᵀ.
 *
 * @returns -1, or the first pivot that was not positive
 */
export function choleskyFactor(n: i32, a: usize, scratch: usize): i32 {
  const ld = <usize>n << 2;
  const tile = scratch + BLOCK_BYTES;
  const bPanels = tile + TILE_BYTES;
  const aPanels = bPanels + panelBytes(n, NB);
  for (let k = 0; k < n; k += NB) {
    const width = min(NB, n - k);
    const diagonal = a + <usize>k * ld + (<usize>k << 2);
    const failed = factorDiagonal(width, diagonal, ld, scratch);
    if (failed >= 0) return k + failed;
    const below = n - k - width;
    if (below == 0) break;
    const panel = diagonal + <usize>width * ld;
    invertDiagonal(width, diagonal, ld, scratch);
    packRows(panel, ld, below, width, MR, 1, aPanels);
    packRows(scratch, BLOCK_LD, width, width, NR, 1, bPanels);
    multiplyPanels(UPPER_RIGHT, 0, below, width, width, aPanels, bPanels, panel, ld, true, tile);

    packRows(panel, ld, below, width, MR, -1, aPanels);
    packRows(panel, ld, below, width, NR, 1, bPanels);
    for (let j = 0; j < below; j += NC) {
      const cols = min(NC, below - j);
      const aAt = aPanels + <usize>j * <usize>(width << 2);
      const bAt = bPanels + <usize>j * <usize>(width << 2);
      const to = panel + (<usize>width << 2) + <usize>j * ld + (<usize>j << 2);
      multiplyPanels(LOWER_RESULT, 0, below - j, cols, width, aAt, bAt, to, ld, false, tile);
    }
  }
  clearAbove(n, a);
  return -1;
}

function clearAbove(n: i32, a: usize): void {
  const ld = <usize>n << 2;
  for (let i = 0; i < n; i++) {
    memory.fill(a + <usize>i * ld + (<usize>(i + 1) << 2), 0, <usize>(n - i - 1) << 2);
  }
}

export function choleskyInverseScratch(n: i32): usize {
  const product = panelBytes(NB, n);
  return BLOCK_BYTES + TILE_BYTES + product + panelBytes(NC, KC) + panelBytes(NB, KC);
}

/**
 * out [n, n] = inverse of the lower-triangular l [n, n], by block rows: with L_i the block row left
 * of the diagonal block D, the block row of the inverse is -D⁻¹ (L_i * rows above), then D⁻¹.
 */
export function choleskyInverse(n: i32, l: usize, out: usize, scratch: usize): void {
  const ld = <usize>n << 2;
  const tile = scratch + BLOCK_BYTES;
  const product = tile + TILE_BYTES;
  const bPanels = product + panelBytes(NB, n);
  const aPanels = bPanels + panelBytes(NC, KC);
  clearAbove(n, out);
  for (let i = 0; i < n; i += NB) {
    const rows = min(NB, n - i);
    const left = l + <usize>i * ld;
    const to = out + <usize>i * ld;
    invertDiagonal(rows, left + (<usize>i << 2), ld, scratch);
    for (let r = 0; r < rows; r++) {
      const row = to + <usize>r * ld + (<usize>i << 2);
      memory.copy(row, scratch + <usize>r * BLOCK_LD, <usize>(r + 1) << 2);
    }
    for (let j = 0; j < i; j += NC) {
      const cols = min(NC, i - j);
      // Rows of the inverse above column j are zero, so k starts at the diagonal.
      for (let p = j; p < i; p += KC) {
        const depth = min(KC, i - p);
        const shape = p == j ? LOWER_RIGHT : FULL;
        packRows(left + (<usize>p << 2), ld, rows, depth, MR, 1, aPanels);
        packColumns(out + <usize>p * ld + (<usize>j << 2), ld, depth, cols, NR, 1, bPanels);
        const at = product + (<usize>j << 2);
        multiplyPanels(shape, 0, rows, cols, depth, aPanels, bPanels, at, ld, p == j, tile);
      }
    }
    packRows(scratch, BLOCK_LD, rows, rows, MR, -1, aPanels);
    for (let j = 0; j < i; j += NC) {
      const cols = min(NC, i - j);
      packColumns(product + (<usize>j << 2), ld, rows, cols, NR, 1, bPanels);
      const at = to + (<usize>j << 2);
      multiplyPanels(LOWER_LEFT, 0, rows, cols, rows, aPanels, bPanels, at, ld, true, tile);
    }
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
