import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { address, type Kernels } from "./kernels.js";
import { IN_COLUMNS, IN_ROWS, multiply } from "./product.js";

export function bind(kernels: Kernels): Partial<Operations> {
  return {
    gemm(a, b, out, options = {}) {
      const { transposeA = false, transposeB = false, accumulate = false, alpha } = options;
      const n = colsOf(out);
      // Spread into one another, objects take longer than a product of small blocks.
      multiply(kernels, {
        m: rowsOf(out),
        n,
        k: transposeA ? rowsOf(a) : colsOf(a),
        a: { at: address(a), ld: colsOf(a), layout: transposeA ? IN_COLUMNS : IN_ROWS },
        b: { at: address(b), ld: colsOf(b), layout: transposeB ? IN_ROWS : IN_COLUMNS },
        out: address(out),
        ldo: n,
        alpha,
        overwrite: !accumulate,
      });
    },
  };
}
