import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { address, type Kernels, withScratch } from "./kernels.js";

export function bind(kernels: Kernels): Partial<Operations> {
  const { exports } = kernels;
  return {
    columnDots(a, b, out) {
      const cols = colsOf(a);
      const bytes = Math.ceil(cols / 4) * 4 * Float64Array.BYTES_PER_ELEMENT;
      withScratch(kernels, bytes, (scratch) => {
        const operands = [address(a), address(b), address(out)];
        exports.orthogonalColumnDots(rowsOf(a), cols, ...operands, scratch);
      });
    },
    addScaledColumns(x, y, scale, factor) {
      const operands = [address(x), address(y), address(scale)];
      exports.orthogonalAddScaled(rowsOf(x), colsOf(x), ...operands, factor);
    },
    antisymmetrise(a) {
      exports.orthogonalAntisymmetrise(colsOf(a), address(a));
    },
    adam(x, gradient, first, second, options) {
      const { learningRate, step, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, scale = 1 } = options;
      const operands = [address(x), address(gradient), address(first), address(second)];
      const rate = learningRate / (1 - beta1 ** step);
      const secondMean = 1 / (1 - beta2 ** step);
      const factors = [scale, beta1, beta2, rate, secondMean, epsilon];
      exports.orthogonalAdam(x.size, ...operands, ...factors);
    },
  };
}
