import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { address, type Kernels } from "./kernels.js";

export function bind(kernels: Kernels): Partial<Operations> {
  return {
    rope(x, cos, sin, start, headDim = 2 * colsOf(cos)) {
      const half = colsOf(cos);
      const skip = start * half * 4;
      const heads = colsOf(x) / headDim;
      const args = [
        address(x),
        address(cos) + skip,
        address(sin) + skip,
        rowsOf(x),
        heads,
        half,
        headDim,
      ];
      kernels.queue("ropeRotate", [args]);
    },
  };
}
