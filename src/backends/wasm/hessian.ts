import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { address, type Kernels, withScratch } from "./kernels.js";

export function bind(kernels: Kernels): Partial<Operations> {
  const { exports } = kernels;
  return {
    accumulateHessian(x, hessian, scale) {
      const [tokens, n] = [rowsOf(x), colsOf(x)];
      withScratch(kernels, exports.hessianScratch(n, tokens), (scratch) => {
        exports.hessianAccumulate(tokens, n, address(x), address(hessian), scale, scratch);
      });
    },
    mirrorUpper(a) {
      exports.hessianMirror(colsOf(a), address(a));
    },
    accumulateColumnSquares(x, sums) {
      const [tokens, n] = [rowsOf(x), colsOf(x)];
      withScratch(kernels, n * Float64Array.BYTES_PER_ELEMENT, (scratch) => {
        exports.hessianColumnSquares(tokens, n, address(x), address(sums), scratch);
      });
    },
    async quadraticForm(d, h) {
      const [rows, n] = [rowsOf(d), colsOf(d)];
      return withScratch(kernels, exports.hessianQuadraticScratch(rows, n), (scratch) =>
        exports.hessianQuadraticForm(rows, n, address(d), address(h), scratch),
      );
    },
    async sumOfSquares(x) {
      return exports.hessianSumOfSquares(x.size, address(x));
    },
    async countNonFinite(x) {
      return exports.hessianCountNonFinite(x.size, address(x));
    },
  };
}
