import type { Operations } from "../../backend.js";
import type { GpuTensor } from "./buffers.js";
import { gridOf, type Stream } from "./stream.js";

export function bind(stream: Stream): Partial<Operations> {
  return {
    widen(bits, out, format) {
      stream.dispatch({
        shader: "widen",
        constants: { BRAIN: format === "bf16" },
        operands: [bits, out] as GpuTensor[],
        parameters: [out.size],
        groups: gridOf(out.size, 256),
      });
    },
    narrow(x, out, format) {
      if (x.size === 0) return;
      stream.dispatch({
        shader: "narrow",
        constants: { BRAIN: format === "bf16" },
        operands: [x, out] as GpuTensor[],
        parameters: [x.size],
        groups: gridOf(x.size / 2 + 1, 256),
      });
    },
  };
}
