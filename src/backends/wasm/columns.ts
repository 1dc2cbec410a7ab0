import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { orderColumns as orderBytes } from "../reference/columns.js";
import { address, type Kernels } from "./kernels.js";

export function bind({ exports }: Kernels): Partial<Operations> {
  return {
    takeColumns(x, out, { first, width, stride }) {
      const count = colsOf(out) / width;
      const from = address(x) + 4 * first;
      exports.columnsTake(from, address(out), rowsOf(x), colsOf(x), count, width, stride);
    },
    async orderColumns(x, order, out) {
      // Codes and masks are few beside what is of floats.
      if (x.dtype !== "f32") return orderBytes(x, order, out);
      exports.columnsOrder(address(x), address(out), address(order), rowsOf(x), colsOf(x));
    },
  };
}
