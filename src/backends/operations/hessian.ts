import { colsOf, type Tensor } from "../../tensor.js";
import type { Cancellable, Contracts } from "./contract.js";
import { dtype, matrix, square, vector } from "./rules.js";

export interface HessianOperations {
  /**
   * hessian [C, C] += scale * xᵀx over x [T, C]. Only the upper triangle (column >= row) is defined
   * until `mirrorUpper`.
   */
  accumulateHessian(x: Tensor, hessian: Tensor, scale: number): void;
  /** Copies the upper triangle of a square matrix onto its lower one. */
  mirrorUpper(a: Tensor): void;
  /** sums [C] += column sums of squares of x [T, C]. */
  accumulateColumnSquares(x: Tensor, sums: Tensor): void;
  /**
   * trace(d h dᵀ) for d [R, C] and symmetric h [C, C]: the squared Frobenius norm of x dᵀ when
   * h = xᵀx.
   */
  quadraticForm(d: Tensor, h: Tensor, options?: Cancellable): Promise<number>;
  /** Sum of squares of all elements. */
  sumOfSquares(x: Tensor): Promise<number>;
  /** Number of elements that are NaN or infinite. */
  countNonFinite(x: Tensor): Promise<number>;
}

export const hessian: Contracts<HessianOperations> = {
  accumulateHessian: {
    rows: [0],
    rowWork: (_, hessian) => hessian.size / 2,
    // Each time reads and writes the whole Hessian.
    leastRows: 256,
    check(x, hessian) {
      matrix("accumulateHessian", "hessian", hessian, colsOf(x), colsOf(x));
      dtype("accumulateHessian", "x", x, "f32");
    },
  },
  mirrorUpper: {
    check(a) {
      square("mirrorUpper", "a", a);
    },
  },
  accumulateColumnSquares: {
    rows: [0],
    check(x, sums) {
      dtype("accumulateColumnSquares", "x", x, "f32");
      vector("accumulateColumnSquares", "sums", sums, colsOf(x));
    },
  },
  quadraticForm: {
    rows: [0],
    check(d, h) {
      dtype("quadraticForm", "d", d, "f32");
      matrix("quadraticForm", "h", h, colsOf(d), colsOf(d));
    },
  },
  sumOfSquares: {
    elements: [0],
    check(x) {
      dtype("sumOfSquares", "x", x, "f32");
    },
  },
  countNonFinite: {
    elements: [0],
    check(x) {
      dtype("countNonFinite", "x", x, "f32");
    },
  },
};
