import type { Operations } from "../../backend.js";
import type { GpuTensor } from "./buffers.js";
import { gridOf, type Stream } from "./stream.js";

export function bind(stream: Stream): Partial<Operations> {
  return {
    swiglu(gate, up, out) {
      stream.dispatch({
        shader: "binary",
        constants: { SWIGLU: true },
        operands: [gate, up, out] as GpuTensor[],
        parameters: [out.size],
        groups: gridOf(out.size, 256),
      });
    },
    add(x, y) {
      stream.dispatch({
        shader: "in-place",
        operands: [y, x] as GpuTensor[],
        parameters: [x.size, x.size],
        groups: gridOf(x.size, 256),
      });
    },
  };
}
