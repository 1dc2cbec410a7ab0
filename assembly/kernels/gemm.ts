// Dense products: `gemmMultiply` packs and blocks (lib/multiply.ts), `gemmFewTokens` reads both operands
// as stored (lib/few-tokens.ts). Which micro-kernel they use is chosen by timing `gemmTrial`.

import { FEW_TOKENS, multiplyFewTokens } from "../lib/few-tokens";
import { useShape } from "../lib/micro-kernel";
import { multiply, multiplyScratch, PLAIN, TRANSPOSED } from "../lib/multiply";
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

export function gemmScratch(m: i32, n: i32, k: i32): usize {
  return multiplyScratch(m, n, k);
}

/**
 * out [m, n] = alpha * A [m, k] B [k, n], added to out unless `overwrite`; lda, ldb and ldc are the
 * floats between rows as stored.
 */
export function gemmMultiply(
  m: i32,
  n: i32,
  k: i32,
  a: usize,
  lda: i32,
  transposeA: bool,
  b: usize,
  ldb: i32,
  transposeB: bool,
  out: usize,
  ldc: i32,
  alpha: f32,
  overwrite: bool,
  scratch: usize,
): void {
  const layout = transposeB ? TRANSPOSED : PLAIN;
  const aStep = <usize>lda << 2;
  const bStep = <usize>ldb << 2;
  const step = <usize>ldc << 2;
  multiply(m, n, k, a, aStep, transposeA, b, bStep, layout, out, step, alpha, overwrite, scratch);
}

/** Fills every row of out [rows, cols] with bias [cols], or with zeros when bias is 0. */
export function gemmFillRows(rows: i32, cols: i32, bias: usize, out: usize): void {
  const bytes = <usize>cols << 2;
  for (let r = 0; r < rows; r++) {
    if (bias) memory.copy(out, bias, bytes);
    else memory.fill(out, 0, bytes);
    out += bytes;
  }
}

/** Rows of x up to which `gemmFewTokens` is faster. */
export const GEMM_FEW_TOKENS: i32 = FEW_TOKENS;

/**
 * out [tokens, outFeatures] += x [tokens, inFeatures] Wᵀ, W [outFeatures, inFeatures]; rows of out lie
 * outStep floats apart.
 */
export function gemmFewTokens(
  tokens: i32,
  outFeatures: i32,
  inFeatures: i32,
  x: usize,
  w: usize,
  out: usize,
  outStep: i32,
): void {
  multiplyFewTokens(tokens, outFeatures, inFeatures, x, w, out, outStep);
}
