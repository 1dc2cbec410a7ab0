import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { address, equalRanges, type Kernels, runRanges, withScratch } from "./kernels.js";

/** Rows of `quadraticForm` whose terms are added up together, however many threads there are. */
const PANEL = 256;

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
      const sums = runRanges(
        kernels,
        "hessianQuadraticForm",
        equalRanges(rows, PANEL),
        rows * n * n,
        ({ count }) => exports.hessianQuadraticScratch(count, n),
        ({ start, count }) => [count, n, address(d) + 4 * start * n, address(h)],
      );
      return sums.reduce((sum, part) => sum + part, 0);
    },
    async sumOfSquares(x) {
      return exports.hessianSumOfSquares(x.size, address(x));
    },
    async countNonFinite(x) {
      return exports.hessianCountNonFinite(x.size, address(x));
    },
  };
}
