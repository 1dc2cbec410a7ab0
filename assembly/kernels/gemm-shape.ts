// The choice of the micro-kernel's shape, and what it is chosen by.

import { useShape } from "../lib/micro-kernel";
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
