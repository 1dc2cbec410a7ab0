// Products with a weight that was packed once, and the choice of the micro-kernel's shape, on which
// the packed layout depends.

import { useShape } from "../lib/micro-kernel";
import { multiply, PACKED, packedBytes, packWhole } from "../lib/multiply";
import { FULL, multiplyPanels } from "../lib/panels";

/** Sets the shape of the micro-kernel; every instance that shares packed operands needs the same. */
export function gemmUseShape(index: i32): void {
  useShape(index);
}

/** Sides of the product that `gemmTrial` computes, whole tiles of every shape, and its depth. */
const TRIAL_ROWS: i32 = 60;
const TRIAL_COLS: i32 = 48;
const TRIAL_DEPTH: i32 = 192;

/** f32 operations of a trial, and bytes of the memory that it works in. */
export const GEMM_TRIAL_OPERATIONS: i32 = 2 * TRIAL_ROWS * TRIAL_COLS * TRIAL_DEPTH;
export const GEMM_TRIAL_BYTES: i32 =
  4 * ((TRIAL_ROWS + TRIAL_COLS) * TRIAL_DEPTH + TRIAL_ROWS * TRIAL_COLS);

/** The micro-kernel on panels that stay in the caches, for timing; at: GEMM_TRIAL_BYTES of zeros. */
export function gemmTrial(at: usize): void {
  const b = at + <usize>(4 * TRIAL_ROWS * TRIAL_DEPTH);
  const c = b + <usize>(4 * TRIAL_COLS * TRIAL_DEPTH);
  const ldc = <usize>(4 * TRIAL_COLS);
  multiplyPanels(FULL, 0, TRIAL_ROWS, TRIAL_COLS, TRIAL_DEPTH, at, b, c, ldc, false, at);
}

/** Bytes of a weight [n, k] as `gemmPack` writes it. */
export function gemmPackBytes(n: i32, k: i32): usize {
  return packedBytes(n, k);
}

/** Packs a weight w [n, k] once, for any number of `gemmPacked` with the shape set by now. */
export function gemmPack(n: i32, k: i32, w: usize, packed: usize): void {
  packWhole(n, k, w, packed);
}

/**
 * out [m, n] = x [m, k] times the transpose of rows first to first + n of a packed weight [all, k],
 * added to out unless `overwrite`: the same bits as `gemmMultiply` gives.
 *
 * @param first a multiple of 24
 * @param ldc floats between rows of out
 * @param scratch gemmScratch(m, n, k) bytes
 */
export function gemmPacked(
  m: i32,
  n: i32,
  k: i32,
  x: usize,
  packed: usize,
  first: i32,
  all: i32,
  out: usize,
  ldc: i32,
  overwrite: bool,
  scratch: usize,
): void {
  const ldx = <usize>k << 2;
  const step = <usize>ldc << 2;
  multiply(m, n, k, x, ldx, false, packed, 0, PACKED, out, step, 1, overwrite, scratch, first, all);
}
