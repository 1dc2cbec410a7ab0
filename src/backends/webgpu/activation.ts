import type { Operations } from "../../backend.js";
import type { GpuTensor } from "./buffers.js";
import { gridOf, type Stream } from "./stream.js";

export function bind(stream: Stream): Partial<Operations> {
  return {
    activate(x, out, name) {
      stream.dispatch({
        shader: "activate",
        constants: { NORMAL: name === "gelu", TANH: name === "gelu-tanh" },
        operands: [x, out] as GpuTensor[],
        parameters: [out.size],
        groups: gridOf(out.size, 256),
      });
    },
    geglu(gate, up, out) {
      stream.dispatch({
        shader: "binary",
        constants: { GEGLU: true },
        operands: [gate, up, out] as GpuTensor[],
        parameters: [out.size],
        groups: gridOf(out.size, 256),
      });
    },
  };
}
