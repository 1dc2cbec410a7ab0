import type { Operations } from "../../backend.js";
import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { RoundingOptions } from "../operations/rounding.js";
import { address, type Kernels } from "./kernels.js";
import { withFactors } from "./line-factors.js";

export function bind(kernels: Kernels): Partial<Operations> {
  const { exports } = kernels;
  const over =
    (axis: "roundingRows" | "roundingColumns") =>
    async (w: Tensor, gradient: Tensor, options: RoundingOptions): Promise<number> => {
      const { groupSize, power, accumulate = false } = options;
      const [rows, cols] = [rowsOf(w), colsOf(w)];
      const length = axis === "roundingRows" ? cols : rows;
      return withFactors(kernels, length, options, (factors, byFactor) =>
        exports[axis](
          rows,
          cols,
          address(w),
          factors,
          address(gradient),
          byFactor,
          Number(accumulate),
          // All of a line where a group is longer.
          Math.min(groupSize, Math.max(1, length)),
          Math.log2(power),
        ),
      );
    };
  return { roundingRows: over("roundingRows"), roundingColumns: over("roundingColumns") };
}
