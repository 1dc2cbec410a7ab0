import type { Operations } from "../../backend.js";
import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { GpuTensor } from "./buffers.js";
import { tiledProduct } from "./gemm.js";
import type { Stream } from "./stream.js";

/** Elements that a workgroup of a sum adds up, at least: 16 for each thread. */
const ELEMENTS_A_GROUP = 4096;
/** Workgroups of a sum over a whole tensor, at most; their results are added in float64. */
const MOST_PARTIAL_SUMS = 1024;

/** sums [C] += column sums of squares of x [T, C]. */
export function accumulateColumnSquares(stream: Stream, x: Tensor, sums: Tensor): void {
  const cols = colsOf(x);
  stream.dispatch({
    shader: "column-dots",
    constants: { ACCUMULATE: true },
    operands: [x, x, sums] as GpuTensor[],
    parameters: [rowsOf(x), cols],
    groups: [Math.ceil(cols / 16)],
  });
}

export function bind(stream: Stream): Partial<Operations> {
  /** The sum of products of two tensors, or the count of elements that are not finite. */
  const sum = async (x: Tensor, y: Tensor | undefined): Promise<number> => {
    if (x.size === 0) return 0;
    const count = Math.min(MOST_PARTIAL_SUMS, Math.ceil(x.size / ELEMENTS_A_GROUP));
    const partial = stream.allocate([2 * count]);
    stream.dispatch({
      shader: "sum",
      constants: { COUNT: y === undefined },
      operands: [x, y, partial] as GpuTensor[],
      parameters: [x.size],
      groups: [count],
    });
    const reading = stream.read(partial);
    try {
      let total = 0;
      for (const value of await reading) total += value;
      return total;
    } finally {
      partial.dispose();
    }
  };
  return {
    accumulateHessian(x, hessian, scale) {
      const options = { transposeA: true, alpha: scale, accumulate: true, upper: true };
      tiledProduct(stream, x, x, hessian, options);
    },
    mirrorUpper(a) {
      const n = colsOf(a);
      const groups = Math.ceil(n / 16);
      stream.dispatch({
        shader: "mirror",
        operands: [a] as GpuTensor[],
        parameters: [n],
        groups: [groups, groups],
      });
    },
    accumulateColumnSquares: (x, sums) => accumulateColumnSquares(stream, x, sums),
    async quadraticForm(d, h) {
      const product = stream.allocate([rowsOf(d), colsOf(d)]);
      tiledProduct(stream, d, h, product, {});
      const total = sum(d, product);
      try {
        return await total;
      } finally {
        product.dispose();
      }
    },
    sumOfSquares: (x) => sum(x, x),
    countNonFinite: (x) => sum(x, undefined),
  };
}
