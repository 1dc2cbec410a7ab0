import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import type { GpuTensor } from "./buffers.js";
import { float } from "./pipelines.js";
import { gridOf, type Stream, widthFor } from "./stream.js";

export function bind(stream: Stream): Partial<Operations> {
  return {
    diagonal(a, out) {
      const n = colsOf(a);
      stream.dispatch({
        shader: "diagonal",
        constants: { ADD: false },
        operands: [a, out] as GpuTensor[],
        parameters: [n],
        groups: [Math.ceil(n / 256)],
      });
    },
    addDiagonal(a, values) {
      const n = colsOf(a);
      stream.dispatch({
        shader: "diagonal",
        constants: { ADD: true },
        operands: [values, a] as GpuTensor[],
        parameters: [n],
        groups: [Math.ceil(n / 256)],
      });
    },
    scale(x, factor) {
      stream.dispatch({
        shader: "in-place",
        constants: { FACTOR: true },
        operands: [undefined, x] as GpuTensor[],
        parameters: [x.size, x.size, float(factor)],
        groups: gridOf(x.size, 256),
      });
    },
    scaleColumns(w, scale) {
      stream.dispatch({
        shader: "in-place",
        constants: { SCALE: true },
        operands: [scale, w] as GpuTensor[],
        parameters: [w.size, colsOf(w)],
        groups: gridOf(w.size, 256),
      });
    },
    rowSquares(w, out, columnScale) {
      stream.dispatch({
        shader: "row-squares",
        constants: { WIDTH: widthFor(colsOf(w)) },
        operands: [w, columnScale, out] as GpuTensor[],
        parameters: [rowsOf(w), colsOf(w)],
        groups: gridOf(rowsOf(w), 1),
      });
    },
    subtract(a, b, out) {
      stream.dispatch({
        shader: "binary",
        operands: [a, b, out] as GpuTensor[],
        parameters: [out.size],
        groups: gridOf(out.size, 256),
      });
    },
  };
}
