// out = A (S (B x)) + bias with A and B block-diagonal and S 2:4-sparse: the three products of
// kernels/block-diagonal.ts and kernels/two-four.ts in one call, because between two kernels
// JavaScript has to be fetched back into caches that the weights have swept through.

import { blockDiagonalMultiply, blockDiagonalScratch } from "./block-diagonal";
import { twoFourRows, twoFourScratch } from "./two-four";

/**
 * Bytes of scratch for sandwichLinear.
 *
 * @param format of S, as in kernels/two-four.ts
 * @param run tokens that go through all three products before the next ones
 */
export function sandwichScratch(format: i32, run: i32, groups: i32, leftSize: i32, rightSize: i32): usize {
  const left = blockDiagonalScratch(run, leftSize);
  const right = blockDiagonalScratch(run, rightSize);
  return max(max(left, right), twoFourScratch(format, run, groups));
}

/**
 * out [tokens, rows] = x [tokens, 4 * groups] B^T S^T A^T + bias, S in prepared form.
 *
 * @param left A's blocks, [rows / leftSize, leftSize, leftSize]
 * @param right B's blocks, [4 * groups / rightSize, rightSize, rightSize]
 * @param bias [rows], or 0 for none
 * @param run as in sandwichScratch, at least 1
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
  const xStep = <usize>groups << 4;
  const outStep = <usize>rows << 2;
  const inner = work + <usize>run * xStep;
  while (tokens > 0) {
    const count = min(run, tokens);
    blockDiagonalMultiply(count, groups * 4, rightSize, x, right, work, 0, scratch);
    twoFourRows(format, work, panels, scales, inner, 0, count, rows, groups, 0, rows, scratch);
    blockDiagonalMultiply(count, rows, leftSize, inner, left, out, bias, scratch);
    x += <usize>count * xStep;
    out += <usize>count * outStep;
    tokens -= count;
  }
}
