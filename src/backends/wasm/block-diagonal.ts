import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { address, type Kernels, withScratch } from "./kernels.js";

export function bind(kernels: Kernels): Partial<Operations> {
  const { blockDiagonalScratch, blockDiagonalMultiply } = kernels.exports;
  return {
    blockDiagonal(x, blocks, out, { bias } = {}) {
      const [tokens, size] = [rowsOf(x), colsOf(blocks)];
      withScratch(kernels, blockDiagonalScratch(tokens, size), (scratch) => {
        const operands = [address(x), address(blocks), address(out), bias ? address(bias) : 0];
        blockDiagonalMultiply(tokens, colsOf(x), size, ...operands, scratch);
      });
    },
  };
}
