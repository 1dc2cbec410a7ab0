import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { address, cut, type Kernels, runRanges } from "./kernels.js";

/** The smallest multiple of `grain`, a power of two, that whole blocks of `size` fill. */
export function wholeBlocks(size: number, grain: number): number {
  let common = size;
  while (common % grain !== 0) common += size;
  return common;
}

/** out [tokens, cols] = x [tokens, cols] times a block-diagonal matrix plus bias, all by address. */
export function multiplyBlocks(
  kernels: Kernels,
  { tokens, cols, size }: { tokens: number; cols: number; size: number },
  { x, blocks, out, bias = 0 }: { x: number; blocks: number; out: number; bias?: number },
): void {
  const work = tokens * cols * size;
  runRanges(
    kernels,
    "blockDiagonalMultiply",
    cut(kernels, cols, wholeBlocks(size, 4), work),
    work,
    () => kernels.exports.blockDiagonalScratch(tokens, size),
    ({ start, count }) => [tokens, cols, size, x, blocks, out, bias, start, start + count],
  );
}

export function bind(kernels: Kernels): Partial<Operations> {
  return {
    blockDiagonal(x, blocks, out, { bias } = {}) {
      const shape = { tokens: rowsOf(x), cols: colsOf(x), size: colsOf(blocks) };
      const operands = { x: address(x), blocks: address(blocks), out: address(out) };
      multiplyBlocks(kernels, shape, { ...operands, bias: bias && address(bias) });
    },
  };
}
