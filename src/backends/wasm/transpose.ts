import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { address, type Kernels } from "./kernels.js";

export function bind({ exports }: Kernels): Partial<Operations> {
  return {
    transpose(a, out) {
      exports.transpose(rowsOf(a), colsOf(a), address(a), address(out));
    },
  };
}
