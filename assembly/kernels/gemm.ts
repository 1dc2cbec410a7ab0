// Dense products. `gemmMultiply` packs operands that `gemmPack` did not pack before, and multiplies in blocks
// (lib/multiply.ts). `gemmFewTokens` reads both operands as stored (lib/few-tokens.ts). The micro-kernel is
// chosen by timing `gemmTrial`.

import { FEW_TOKENS, multiplyFewTokens } from "../lib/few-tokens";
import { MR, NR, useShape } from "../lib/micro-kernel";
import { blockDepth, multiply, multiplyScratch, packedBytes, packOperand } from "../lib/multiply";
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

/**
 * The micro-kernel on panels that stay in the caches, for timing.
 *
 * @param at GEMM_TRIAL_BYTES of zeros
 */
export function gemmTrial(at: usize): void {
  const b = at + <usize>(4 * TRIAL_ROWS * TRIAL_DEPTH);
  const c = b + <usize>(4 * TRIAL_COLS * TRIAL_DEPTH);
  const ldc = <usize>(4 * TRIAL_COLS);
  multiplyPanels(FULL, 0, TRIAL_ROWS, TRIAL_COLS, TRIAL_DEPTH, at, b, c, ldc, false, at);
}

/** Steps of k in a block. Products of all blocks, added up one after the other, have the bits of the whole. */
export function gemmBlockDepth(k: i32): i32 {
  return blockDepth(k);
}

/** Bytes of an operand as `gemmPack` writes it. */
export function gemmPackedBytes(count: i32, k: i32): usize {
  return packedBytes(count, k);
}

/**
 * Packs lines [first, last) of an operand of `count`, rows of A or columns of B, times `scale`; `first` is
 * a multiple of 120. Threads may share this out.
 *
 * @param ld floats between rows as stored
 * @param layout 0 for lines stored as rows, 1 for lines stored as columns
 * @param panels gemmPackedBytes(count, k)
 */
export function gemmPack(
  isB: bool,
  count: i32,
  k: i32,
  from: usize,
  ld: i32,
  layout: i32,
  scale: f32,
  panels: usize,
  first: i32,
  last: i32,
): void {
  const width = isB ? NR : MR;
  packOperand(first, last, count, k, from, <usize>ld << 2, layout, width, scale, panels);
}

/** Bytes of scratch for `gemmMultiply`; m or n is 0 for an operand that is packed. */
export function gemmScratch(m: i32, n: i32, k: i32): usize {
  return multiplyScratch(m, n, k);
}

/**
 * out [m, n] = alpha * A [m, k] B [k, n], added to out unless `overwrite`; lda, ldb and ldc are the
 * floats between rows as stored.
 *
 * @param layoutA 0 for A as [m, k], 1 for [k, m], 2 for what `gemmPack` wrote, then without alpha
 * @param layoutB 0 for B as [n, k], 1 for [k, n], 2 for what `gemmPack` wrote
 */
export function gemmMultiply(
  m: i32,
  n: i32,
  k: i32,
  a: usize,
  lda: i32,
  layoutA: i32,
  b: usize,
  ldb: i32,
  layoutB: i32,
  out: usize,
  ldc: i32,
  alpha: f32,
  overwrite: bool,
  scratch: usize,
): void {
  const aStep = <usize>lda << 2;
  const bStep = <usize>ldb << 2;
  const step = <usize>ldc << 2;
  multiply(m, n, k, a, aStep, layoutA, b, bStep, layoutB, out, step, alpha, overwrite, scratch);
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

/** Up to this many rows of x `gemmFewTokens` is faster. */
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
