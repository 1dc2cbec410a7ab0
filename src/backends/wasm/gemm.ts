import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { address, type Kernels } from "./kernels.js";
import { IN_COLUMNS, IN_ROWS, multiply } from "./product.js";

export function bind(kernels: Kernels): Partial<Operations> {
  return {
    gemm(a, b, out, options = {}) {
      const { transposeA = false, transposeB = false, accumulate = false, alpha } = options;
      const [m, n] = [rowsOf(out), colsOf(out)];
      const layouts = [transposeA ? IN_COLUMNS : IN_ROWS, transposeB ? IN_ROWS : IN_COLUMNS];
      multiply(kernels, {
        ...{ m, n, k: transposeA ? rowsOf(a) : colsOf(a) },
        a: { at: address(a), ld: colsOf(a), layout: layouts[0] },
        b: { at: address(b), ld: colsOf(b), layout: layouts[1] },
        ...{ out: address(out), ldo: n, alpha, overwrite: !accumulate },
      });
    },
  };
}
