import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { address, type Kernels, withScratch } from "./kernels.js";

export function bind(kernels: Kernels): Partial<Operations> {
  const { blockDiagonalScratch, blockDiagonalMultiply } = kernels.exports;
  return {
    blockDiagonal(x, blocks, out) {
      const size = colsOf(blocks);
      withScratch(kernels, blockDiagonalScratch(size), (scratch) => {
        const operands = [address(x), address(blocks), address(out), scratch];
        blockDiagonalMultiply(rowsOf(x), colsOf(x), size, ...operands);
      });
    },
  };
}
