import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { address, type Kernels, withFloats, withScratch } from "./kernels.js";

/** Rows of x up to which reading the weights as stored beats packing them first. */
const FEW_TOKENS = 12;

export function bind(kernels: Kernels): Partial<Operations> {
  const { gemmScratch, gemmMultiply, gemmFillRows, gemmFewTokens } = kernels.exports;
  return {
    gemm(a, b, out, options = {}) {
      const { transposeA = false, transposeB = false, alpha = 1, accumulate = false } = options;
      const [m, n] = [rowsOf(out), colsOf(out)];
      const k = transposeA ? rowsOf(a) : colsOf(a);
      withScratch(kernels, gemmScratch(m, n, k), (scratch) => {
        const left = [address(a), Number(transposeA)];
        const right = [address(b), Number(transposeB)];
        const overwrite = Number(!accumulate);
        gemmMultiply(m, n, k, ...left, ...right, address(out), alpha, overwrite, scratch);
      });
    },
    linear(x, weight, out, { bias } = {}) {
      const [tokens, k, n] = [rowsOf(x), colsOf(x), rowsOf(weight)];
      const few = tokens <= FEW_TOKENS;
      if (bias) gemmFillRows(tokens, n, address(bias), address(out));
      else if (few) gemmFillRows(tokens, n, 0, address(out));
      withFloats(kernels, weight, (weights) => {
        if (few) {
          gemmFewTokens(tokens, n, k, address(x), weights, address(out));
          return;
        }
        withScratch(kernels, gemmScratch(tokens, n, k), (scratch) => {
          const overwrite = Number(!bias);
          const operands = [address(x), 0, weights, 1, address(out)];
          gemmMultiply(tokens, n, k, ...operands, 1, overwrite, scratch);
        });
      });
    },
  };
}
