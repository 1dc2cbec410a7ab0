import type { Operations } from "../../backend.js";
import { colsOf } from "../../tensor.js";
import { address, type Kernels, withScratch } from "./kernels.js";

export function bind(kernels: Kernels): Partial<Operations> {
  const { exports } = kernels;
  return {
    async cholesky(a) {
      const n = colsOf(a);
      return withScratch(kernels, exports.choleskyScratch(n), (scratch) =>
        exports.choleskyFactor(n, address(a), scratch),
      );
    },
    async triangularInverse(l, out) {
      const n = colsOf(l);
      withScratch(kernels, exports.choleskyInverseScratch(n), (scratch) => {
        exports.choleskyInverse(n, address(l), address(out), scratch);
      });
    },
    reverse(a) {
      exports.choleskyReverse(a.size, address(a));
    },
  };
}
