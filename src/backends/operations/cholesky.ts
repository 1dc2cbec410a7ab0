import type { Tensor } from "../../tensor.js";
import type { Cancellable, Contracts } from "./contract.js";
import { matrix, square } from "./rules.js";

export interface CholeskyOperations {
  /**
   * The lower Cholesky factor of a symmetric matrix, in place. The strict upper triangle is set to
   * zero.
   *
   * @param a [n, n]; only its lower triangle is read
   * @returns -1, or the first pivot that was not positive
   */
  cholesky(a: Tensor, options?: Cancellable): Promise<number>;
  /** out [n, n] = l⁻¹ for lower-triangular l, with a zero strict upper triangle. `out` may be l itself. */
  triangularInverse(l: Tensor, out: Tensor, options?: Cancellable): Promise<void>;
  /** Reverses the order of rows and of columns in place: a[i][j] <-> a[n-1-i][n-1-j]. */
  reverse(a: Tensor): void;
}

export const cholesky: Contracts<CholeskyOperations> = {
  cholesky: {
    check(a) {
      square("cholesky", "a", a);
    },
  },
  triangularInverse: {
    check(l, out) {
      const n = square("triangularInverse", "l", l);
      matrix("triangularInverse", "out", out, n, n);
    },
  },
  reverse: {
    check(a) {
      square("reverse", "a", a);
    },
  },
};
