import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { Cancellable, Contracts } from "./contract.js";
import { matrix, patternRule, rule } from "./rules.js";

export interface ColumnSweepOptions extends Cancellable {
  /**
   * Which weights go: all but `n` of every `m` columns, chosen group by group from the weights as
   * updated so far, or this ratio of each block, chosen when the block begins. Those with the
   * smallest (w / u[j][j])² go, the lowest place first among equals.
   */
  readonly pattern: { readonly n: number; readonly m: number } | { readonly ratio: number };
  /** Columns that are updated together before all later ones are. A multiple of m. @default 128 */
  readonly blockSize: number;
}

export interface ColumnSweepOperations {
  /**
   * Gives the columns of w new values from the first to the last, and compensates each column's
   * error in those after it: what column j changes by is divided by u[j][j] to e, and e * u[j][k] is
   * taken off every later column k. A column's new values are zero where `pattern` says so, and
   * else stay as they are (SparseGPT, arXiv 2301.00774, algorithm 1).
   *
   * @param w [R, C], changed in place
   * @param u [C, C], the upper Cholesky factor of H⁻¹
   * @param mask u8 [R, C], written: 1 = kept
   * @returns the predicted loss, the sum of e² / 2
   */
  columnSweep(w: Tensor, u: Tensor, mask: Tensor, options: ColumnSweepOptions): Promise<number>;
}

export const columnSweep: Contracts<ColumnSweepOperations> = {
  columnSweep: {
    check(w, u, mask, { pattern, blockSize }) {
      const cols = colsOf(w);
      matrix("columnSweep", "u", u, cols, cols);
      matrix("columnSweep", "mask", mask, rowsOf(w), cols, "u8");
      if ("m" in pattern) {
        patternRule("columnSweep", cols, pattern.n, pattern.m);
        rule(
          "columnSweep",
          blockSize > 0 && blockSize % pattern.m === 0,
          `blockSize ${blockSize} is not a multiple of M=${pattern.m}; choose one that is, such as ${pattern.m * 8}.`,
        );
      } else {
        rule(
          "columnSweep",
          pattern.ratio >= 0 && pattern.ratio < 1 && blockSize > 0,
          `ratio ${pattern.ratio} must be at least 0 and below 1, and blockSize ${blockSize} positive.`,
        );
      }
    },
  },
};
