import type { Operations } from "../../backend.js";
import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { GpuTensor } from "./buffers.js";
import { Selection } from "./selection.js";
import { gridOf, type Stream } from "./stream.js";

/** Writes the mask of scores. Every `period` scores share a threshold; these are `pitch` words apart. */
function mark(
  stream: Stream,
  scores: Tensor,
  thresholds: GpuTensor,
  mask: Tensor,
  [period, pitch]: readonly [number, number],
): void {
  stream.dispatch({
    shader: "select-mark",
    operands: [scores, thresholds, mask] as GpuTensor[],
    parameters: [scores.size, period, pitch],
    groups: gridOf(scores.size / 4 + 1, 256),
  });
}

/** w = 0 where mask u8 is 0. */
export function applyMask(stream: Stream, w: Tensor, mask: Tensor): void {
  stream.dispatch({
    shader: "apply-mask",
    operands: [mask, w] as GpuTensor[],
    parameters: [w.size],
    groups: gridOf(w.size, 256),
  });
}

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
    selectPerRow(scores, mask, count) {
      const [rows, cols] = [rowsOf(scores), colsOf(scores)];
      if (scores.size === 0) return;
      const thresholds = stream.allocate([rows, 2], "i32", { zeroed: true });
      if (count > 0) {
        stream.dispatch({
          shader: "select-rows",
          operands: [scores, thresholds] as GpuTensor[],
          parameters: [rows, cols, count],
          groups: gridOf(rows, 1),
        });
      }
      mark(stream, scores, thresholds, mask, [cols, 2]);
      thresholds.dispose();
    },
    selectPerMatrix(scores, mask, count) {
      if (scores.size === 0) return;
      const selection = new Selection(stream);
      selection.run(scores as GpuTensor, count);
      mark(stream, scores, selection.threshold, mask, [scores.size, 0]);
      selection.dispose();
    },
    applyMask: (w, mask) => applyMask(stream, w, mask),
  };
}
