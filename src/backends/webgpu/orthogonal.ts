import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import type { AdamOptions } from "../operations/orthogonal.js";
import type { GpuTensor } from "./buffers.js";
import { changeSquare } from "./cholesky.js";
import { float } from "./pipelines.js";
import { gridOf, type Stream } from "./stream.js";

/**
 * One step of Adam on x.
 *
 * @param mask u8: elements where it is 0 stay, and count as without gradient. @default none
 */
export function stepAdam(
  stream: Stream,
  [x, gradient, first, second, mask]: readonly GpuTensor[],
  options: AdamOptions,
): void {
  const { learningRate, step, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, scale = 1 } = options;
  const rate = learningRate / (1 - beta1 ** step);
  const secondMean = 1 / (1 - beta2 ** step);
  const numbers = [scale, beta1, 1 - beta1, beta2, 1 - beta2, rate, secondMean, epsilon];
  stream.dispatch({
    shader: "adam",
    constants: { MASKED: mask !== undefined },
    operands: [gradient, x, first, second, ...(mask ? [mask] : [])],
    parameters: [x.size, ...numbers.map(float)],
    groups: gridOf(x.size, 256),
  });
}

export function bind(stream: Stream): Partial<Operations> {
  return {
    columnDots(a, b, out) {
      const cols = colsOf(a);
      stream.dispatch({
        shader: "column-dots",
        operands: [a, b, out] as GpuTensor[],
        parameters: [rowsOf(a), cols],
        groups: [Math.ceil(cols / 16)],
      });
    },
    addScaledColumns(x, y, scale, factor) {
      stream.dispatch({
        shader: "add-scaled-columns",
        operands: [y, scale, x] as GpuTensor[],
        parameters: [x.size, colsOf(x), float(factor)],
        groups: gridOf(x.size, 256),
      });
    },
    antisymmetrise(a) {
      changeSquare(stream, a, { ANTISYMMETRISE: true });
    },
    adam(x, gradient, first, second, options) {
      stepAdam(stream, [x, gradient, first, second] as GpuTensor[], options);
    },
  };
}
