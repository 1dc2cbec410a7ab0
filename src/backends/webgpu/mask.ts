import type { Operations } from "../../backend.js";
import { colsOf } from "../../tensor.js";
import type { GpuTensor } from "./buffers.js";
import { gridOf, type Stream } from "./stream.js";

export function bind(stream: Stream): Partial<Operations> {
  return {
    scaledMagnitude(w, out, columnScale, rowScale) {
      stream.dispatch({
        shader: "scaled-magnitude",
        operands: [w, columnScale, rowScale, out] as GpuTensor[],
        parameters: [
          colsOf(w),
          w.size,
          Number(columnScale !== undefined),
          Number(rowScale !== undefined),
        ],
        groups: gridOf(w.size, 256),
      });
    },
    selectNofM(scores, mask, n, m) {
      if (scores.size === 0) return;
      stream.dispatch({
        shader: "select-n-of-m",
        operands: [scores, mask] as GpuTensor[],
        parameters: [scores.size, m - n, m],
        groups: gridOf(scores.size / 4 + 1, 256),
      });
    },
    applyMask(w, mask) {
      stream.dispatch({
        shader: "apply-mask",
        operands: [mask, w] as GpuTensor[],
        parameters: [w.size],
        groups: gridOf(w.size, 256),
      });
    },
  };
}
