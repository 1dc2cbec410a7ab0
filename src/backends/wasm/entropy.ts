import type { Operations } from "../../backend.js";
import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import { address, type Kernels, withScratch } from "./kernels.js";
import { withFactors } from "./line-factors.js";

export function bind(kernels: Kernels): Partial<Operations> {
  const { exports } = kernels;
  const operands = (w: Tensor, factors: number, gradient: Tensor, byFactor: number) => [
    rowsOf(w),
    colsOf(w),
    address(w),
    factors,
    address(gradient),
    byFactor,
  ];
  return {
    async entropyRows(w, gradient, options = {}) {
      const accumulate = Number(options.accumulate ?? false);
      return withFactors(kernels, colsOf(w), options, (factors, byFactor) =>
        exports.entropyRows(...operands(w, factors, gradient, byFactor), accumulate),
      );
    },
    async entropyColumns(w, gradient, options = {}) {
      const accumulate = Number(options.accumulate ?? false);
      return withFactors(kernels, rowsOf(w), options, (factors, byFactor) =>
        withScratch(kernels, exports.entropyColumnsScratch(colsOf(w)), (scratch) =>
          exports.entropyColumns(...operands(w, factors, gradient, byFactor), accumulate, scratch),
        ),
      );
    },
  };
}
