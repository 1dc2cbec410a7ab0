import type { Operations } from "../../backend.js";
import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { RemovedOptions } from "../operations/removed.js";
import { address, type Kernels, withScratch } from "./kernels.js";
import { withFactors } from "./line-factors.js";

export function bind(kernels: Kernels): Partial<Operations> {
  const { exports } = kernels;
  const over =
    (axis: "removedRows" | "removedColumns") =>
    async (w: Tensor, gradient: Tensor, options: RemovedOptions): Promise<number> => {
      const { keep, of, accumulate = false } = options;
      const [rows, cols] = [rowsOf(w), colsOf(w)];
      const length = axis === "removedRows" ? cols : rows;
      const bytes = exports[`${axis}Scratch`](cols, of);
      return withFactors(kernels, length, options, (factors, byFactor) =>
        withScratch(kernels, bytes, (scratch) =>
          exports[axis](
            rows,
            cols,
            address(w),
            factors,
            address(gradient),
            byFactor,
            Number(accumulate),
            of,
            of - keep,
            scratch,
          ),
        ),
      );
    };
  return { removedRows: over("removedRows"), removedColumns: over("removedColumns") };
}
