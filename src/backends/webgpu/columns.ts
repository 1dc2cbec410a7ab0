import type { Operations } from "../../backend.js";
import { colsOf } from "../../tensor.js";
import type { GpuTensor } from "./buffers.js";
import { gridOf, type Stream } from "./stream.js";

export function bind(stream: Stream): Partial<Operations> {
  return {
    takeColumns(x, out, { first, width, stride }) {
      stream.dispatch({
        shader: "take-columns",
        operands: [x, out] as GpuTensor[],
        parameters: [out.size, colsOf(x), colsOf(out), first, width, stride],
        groups: gridOf(out.size, 256),
      });
    },
  };
}
