import type { DenseMatrix, Operations, WeightOptions } from "../../backend.js";
import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { GpuTensor } from "./buffers.js";
import { gridOf, type Stream } from "./stream.js";

/** What `prepareLinear` makes. */
export interface GpuDense extends DenseMatrix {
  /** f32, or u16 holding f16. */
  readonly tensor: GpuTensor;
}

/** The tensor of a weight, which may have been prepared. */
export function tensorOf(weight: Tensor | DenseMatrix): GpuTensor {
  return "tensor" in weight ? (weight as GpuDense).tensor : (weight as GpuTensor);
}

/** A copy of weights as shaders read them: f32 and f16 as they are, bf16 and int8 as f32. */
export function ownWeights(
  stream: Stream,
  weight: Tensor,
  { format, scales }: WeightOptions = {},
): GpuTensor {
  const [rows, cols] = [rowsOf(weight), colsOf(weight)];
  const isHalf = weight.dtype === "u16" && format !== "bf16";
  const own = stream.allocate([rows, cols], isHalf ? "u16" : "f32");
  if (isHalf || weight.dtype === "f32") {
    stream.copy(weight as GpuTensor, own);
    return own;
  }
  for (const [start, count] of stream.stretches(rows, weight, own)) {
    const size = count * cols;
    const [from, to] = [weight as GpuTensor, own].map((whole) =>
      whole.view([count, cols], start * cols),
    );
    const groups = gridOf(size, 256);
    if (scales) {
      const operands = [from, (scales as GpuTensor).view([count], start), to];
      stream.dispatch({ shader: "widen-bytes", operands, parameters: [cols, size], groups });
    } else {
      const constants = { BRAIN: true };
      stream.dispatch({
        shader: "widen",
        constants,
        operands: [from, to],
        parameters: [size],
        groups,
      });
    }
  }
  return own;
}

export function bind(stream: Stream): Partial<Operations> {
  return {
    prepareLinear(weight, options) {
      const tensor = ownWeights(stream, weight, options);
      const matrix: GpuDense = {
        rows: rowsOf(weight),
        cols: colsOf(weight),
        bytes: tensor.bytes,
        tensor,
        dispose: () => tensor.dispose(),
      };
      return matrix;
    },
  };
}
