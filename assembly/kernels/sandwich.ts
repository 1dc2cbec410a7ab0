// out = A (S (B x)) + bias with A and B block-diagonal and S 2:4-sparse: the products of
// kernels/block-diagonal.ts and kernels/two-four.ts. On one thread all three are one call, because
// between two kernels JavaScript has to be fetched back into caches that the weights have swept
// through; on several, B x is one step, and ranges of rows of S and A together are the other.

import { blockDiagonalMultiply, blockDiagonalScratch } from "./block-diagonal";
import {
  TWO_FOUR_FEW_TOKENS,
  twoFourRows,
  twoFourScratch,
  twoFourTokenBytes,
  twoFourTokens,
} from "./two-four";

/**
 * Bytes of scratch for sandwichRows.
 *
 * @param format of S, as in kernels/two-four.ts
 */
export function sandwichRowsScratch(format: i32, tokens: i32, groups: i32, leftSize: i32): usize {
  return max(blockDiagonalScratch(tokens, leftSize), twoFourScratch(format, tokens, groups));
}

/**
 * Rows [first, last) of out [tokens, rows] = A (S x) + bias, S in prepared form.
 *
 * @param x B times the tokens [tokens, 4 * groups], as twoFourRows wants it
 * @param left A's blocks, [rows / leftSize, leftSize, leftSize]
 * @param bias [rows], or 0 for none
 * @param inner [tokens, rows], written: S x
 * @param first a multiple of leftSize and of 8
 * @param last likewise, or rows
 * @param scratch sandwichRowsScratch(format, tokens, groups, leftSize) bytes
 */
export function sandwichRows(
  format: i32,
  x: usize,
  panels: usize,
  scales: usize,
  left: usize,
  leftSize: i32,
  out: usize,
  bias: usize,
  tokens: i32,
  rows: i32,
  groups: i32,
  inner: usize,
  first: i32,
  last: i32,
  scratch: usize,
): void {
  twoFourRows(format, x, panels, scales, inner, 0, tokens, rows, groups, first, last, scratch);
  blockDiagonalMultiply(tokens, rows, leftSize, inner, left, out, bias, first, last, scratch);
}

/** Bytes of scratch for sandwichLinear with `run` tokens at a time. */
export function sandwichScratch(format: i32, run: i32, groups: i32, leftSize: i32, rightSize: i32): usize {
  const right = blockDiagonalScratch(run, rightSize);
  return packedTokens(run, groups) + max(right, sandwichRowsScratch(format, run, groups, leftSize));
}

/** Bytes of the packed tokens of a run; 0 for few, which are not packed. */
function packedTokens(run: i32, groups: i32): usize {
  return run > TWO_FOUR_FEW_TOKENS ? (twoFourTokenBytes(run, groups) + 63) & ~63 : 0;
}

/**
 * out [tokens, rows] = x [tokens, 4 * groups] B^T S^T A^T + bias; operands as in sandwichRows.
 *
 * @param right B's blocks, [4 * groups / rightSize, rightSize, rightSize]
 * @param run tokens that go through all products before the next ones, from 1 to TWO_FOUR_RUN_TOKENS
 * @param work run * (4 * groups + rows) floats
 * @param scratch sandwichScratch(format, run, groups, leftSize, rightSize) bytes
 */
export function sandwichLinear(
  format: i32,
  x: usize,
  right: usize,
  rightSize: i32,
  panels: usize,
  scales: usize,
  left: usize,
  leftSize: i32,
  out: usize,
  bias: usize,
  tokens: i32,
  rows: i32,
  groups: i32,
  run: i32,
  work: usize,
  scratch: usize,
): void {
  const cols = groups * 4;
  const xStep = <usize>cols << 2;
  const outStep = <usize>rows << 2;
  const inner = work + <usize>run * xStep;
  const rest = scratch + packedTokens(run, groups);
  while (tokens > 0) {
    const count = min(run, tokens);
    blockDiagonalMultiply(count, cols, rightSize, x, right, work, 0, 0, cols, rest);
    let turned = work;
    if (count > TWO_FOUR_FEW_TOKENS) {
      twoFourTokens(count, groups, work, scratch, 0, count);
      turned = scratch;
    }
    sandwichRows(format, turned, panels, scales, left, leftSize, out, bias, count, rows, groups, inner, 0, rows, rest);
    x += <usize>count * xStep;
    out += <usize>count * outStep;
    tokens -= count;
  }
}
