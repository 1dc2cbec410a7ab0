import type { Operations } from "../../backend.js";
import { rowsOf } from "../../tensor.js";
import type { GpuTensor } from "./buffers.js";
import { float } from "./pipelines.js";
import { gridOf, type Stream, widthFor } from "./stream.js";

export function bind(stream: Stream): Partial<Operations> {
  return {
    rmsNorm(x, gain, out, eps) {
      const width = gain.size;
      const rows = x.size / width;
      stream.dispatch({
        shader: "rms-norm",
        constants: { WIDTH: widthFor(width) },
        operands: [x, gain, out] as GpuTensor[],
        parameters: [rows, width, float(eps)],
        groups: gridOf(rows, 1),
      });
    },
    layerNorm(x, gain, bias, out, eps) {
      stream.dispatch({
        shader: "layer-norm",
        constants: { WIDTH: widthFor(gain.size) },
        operands: [x, gain, bias, out] as GpuTensor[],
        parameters: [rowsOf(x), gain.size, float(eps)],
        groups: gridOf(rowsOf(x), 1),
      });
    },
  };
}
