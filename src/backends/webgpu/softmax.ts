import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { checkIds } from "../ids.js";
import type { GpuTensor } from "./buffers.js";
import { float } from "./pipelines.js";
import { gridOf, type Stream, widthFor } from "./stream.js";

export function bind(stream: Stream): Partial<Operations> {
  return {
    softmax(x, out, temperature) {
      if (x.size === 0) return;
      const rows = rowsOf(x);
      stream.dispatch({
        shader: "softmax",
        constants: { WIDTH: widthFor(colsOf(x)) },
        operands: [x, undefined, out] as GpuTensor[],
        parameters: [rows, colsOf(x), float(1 / temperature)],
        groups: gridOf(rows, 1),
      });
    },
    argmax(x, out) {
      stream.dispatch({
        shader: "argmax",
        constants: { WIDTH: widthFor(colsOf(x)) },
        operands: [x, out] as GpuTensor[],
        parameters: [rowsOf(x), colsOf(x)],
        groups: gridOf(rowsOf(x), 1),
      });
    },
    klDivergence(reference, logits, out) {
      const rows = rowsOf(logits);
      stream.dispatch({
        shader: "kl-divergence",
        constants: { WIDTH: widthFor(colsOf(logits)) },
        operands: [reference, logits, out] as GpuTensor[],
        parameters: [rows, colsOf(logits)],
        groups: gridOf(rows, 1),
      });
    },
    crossEntropy(logits, targets, out) {
      const operands = [logits, targets, out] as GpuTensor[];
      const { ids } = operands[1];
      if (ids) checkIds("crossEntropy", ids, colsOf(logits));
      const rows = rowsOf(logits);
      stream.dispatch({
        shader: "softmax",
        constants: { WIDTH: widthFor(colsOf(logits)), LOSS: true },
        operands,
        parameters: [rows, colsOf(logits), float(1)],
        groups: gridOf(rows, 1),
      });
    },
  };
}
