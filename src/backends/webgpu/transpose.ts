import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import type { GpuTensor } from "./buffers.js";
import type { Stream } from "./stream.js";

export function bind(stream: Stream): Partial<Operations> {
  return {
    transpose(a, out) {
      const [rows, cols] = [rowsOf(a), colsOf(a)];
      stream.dispatch({
        shader: "transpose",
        operands: [a, out] as GpuTensor[],
        parameters: [rows, cols],
        groups: [Math.ceil(cols / 16), Math.ceil(rows / 16)],
      });
    },
  };
}
