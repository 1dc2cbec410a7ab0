import type { Operations } from "../../backend.js";
import { colsOf } from "../../tensor.js";
import type { GpuTensor } from "./buffers.js";
import { gridOf, type Stream } from "./stream.js";

export function bind(stream: Stream): Partial<Operations> {
  return {
    rope(x, cos, sin, start) {
      const half = colsOf(cos);
      const pairs = x.size / 2;
      stream.dispatch({
        shader: "rope",
        operands: [cos, sin, x] as GpuTensor[],
        parameters: [half, colsOf(x) / (2 * half), start, pairs],
        groups: gridOf(pairs, 256),
      });
    },
  };
}
