import type { Operations } from "../../backend.js";
import { colsOf } from "../../tensor.js";
import type { GpuTensor } from "./buffers.js";
import { gridOf, type Stream } from "./stream.js";

export function bind(stream: Stream): Partial<Operations> {
  return {
    rope(x, cos, sin, start, headDim = 2 * colsOf(cos)) {
      const half = colsOf(cos);
      const pairs = (x.size / headDim) * half;
      stream.dispatch({
        shader: "rope",
        operands: [cos, sin, x] as GpuTensor[],
        parameters: [half, colsOf(x) / headDim, start, pairs, headDim],
        groups: gridOf(pairs, 256),
      });
    },
  };
}
