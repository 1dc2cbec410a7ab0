import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { address, type Kernels } from "./kernels.js";

/** selectPerRow and selectPerMatrix stay with the reference: radix selection gains no SIMD. */
export function bind({ exports }: Kernels): Partial<Operations> {
  return {
    scaledMagnitude(w, out, columnScale, rowScale) {
      const columns = columnScale ? address(columnScale) : 0;
      const rows = rowScale ? address(rowScale) : 0;
      exports.maskScaledMagnitude(rowsOf(w), colsOf(w), address(w), address(out), columns, rows);
    },
    selectNofM(scores, mask, n, m) {
      exports.maskNofM(scores.size / m, m, m - n, address(scores), address(mask));
    },
    applyMask(w, mask) {
      exports.maskApply(w.size, address(w), address(mask));
    },
  };
}
