import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { Contracts } from "./contract.js";
import { matrix } from "./rules.js";

export interface GemmOptions {
  /** Read `a` as [K, M] and use its transpose. @default false */
  readonly transposeA?: boolean | undefined;
  /** Read `b` as [N, K] and use its transpose. @default false */
  readonly transposeB?: boolean | undefined;
  /** Factor on the product. @default 1 */
  readonly alpha?: number | undefined;
  /** Add to `out` instead of overwriting it. @default false */
  readonly accumulate?: boolean | undefined;
}

export interface GemmOperations {
  /** out [M, N] = alpha * A [M, K] B [K, N]  (+ out). */
  gemm(a: Tensor, b: Tensor, out: Tensor, options?: GemmOptions): void;
}

export const gemm: Contracts<GemmOperations> = {
  gemm: {
    check(a, b, out, { transposeA = false, transposeB = false } = {}) {
      const m = transposeA ? colsOf(a) : rowsOf(a);
      const k = transposeA ? rowsOf(a) : colsOf(a);
      const n = transposeB ? rowsOf(b) : colsOf(b);
      matrix("gemm", "b", b, transposeB ? n : k, transposeB ? k : n);
      matrix("gemm", "out", out, m, n);
    },
  },
};
