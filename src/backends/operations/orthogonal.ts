import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { Contracts } from "./contract.js";
import { dtype, matrix, rule, square, vector } from "./rules.js";

export interface AdamOptions {
  readonly learningRate: number;
  /** Updates done, this one included: from 1. */
  readonly step: number;
  /** Decay of the mean of gradients. @default 0.9 */
  readonly beta1?: number | undefined;
  /** Decay of the mean of squared gradients. @default 0.999 */
  readonly beta2?: number | undefined;
  /** @default 1e-8 */
  readonly epsilon?: number | undefined;
  /** Factor on the gradient, such as one that clips its norm. @default 1 */
  readonly scale?: number | undefined;
}

export interface OrthogonalOperations {
  /** out [C] = sum over rows of a [R, C] * b [R, C], column by column: the diagonal of aᵀb. */
  columnDots(a: Tensor, b: Tensor, out: Tensor): void;
  /** x [R, C] += factor * y [R, C] * scale [C], column by column. */
  addScaledColumns(x: Tensor, y: Tensor, scale: Tensor, factor: number): void;
  /** a = a - aᵀ for square a, in place. */
  antisymmetrise(a: Tensor): void;
  /**
   * One step of Adam (arXiv 1412.6980) on x, in place, as are its moments `first` and `second`. All
   * are of one size.
   */
  adam(x: Tensor, gradient: Tensor, first: Tensor, second: Tensor, options: AdamOptions): void;
}

export const orthogonal: Contracts<OrthogonalOperations> = {
  columnDots: {
    check(a, b, out) {
      dtype("columnDots", "a", a, "f32");
      matrix("columnDots", "b", b, rowsOf(a), colsOf(a));
      vector("columnDots", "out", out, colsOf(a));
    },
  },
  addScaledColumns: {
    check(x, y, scale) {
      dtype("addScaledColumns", "x", x, "f32");
      matrix("addScaledColumns", "y", y, rowsOf(x), colsOf(x));
      vector("addScaledColumns", "scale", scale, colsOf(x));
    },
  },
  antisymmetrise: {
    check(a) {
      square("antisymmetrise", "a", a);
    },
  },
  adam: {
    check(x, gradient, first, second, { step }) {
      vector("adam", "x", x, x.size);
      vector("adam", "gradient", gradient, x.size);
      vector("adam", "first", first, x.size);
      vector("adam", "second", second, x.size);
      rule("adam", step >= 1, `step ${step} must be at least 1.`);
    },
  },
};
