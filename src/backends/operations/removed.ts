import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { Contracts } from "./contract.js";
import { type EntropyOptions, lineRule } from "./entropy.js";
import { patternRule } from "./rules.js";

export interface RemovedOptions extends EntropyOptions {
  /** This many stay of every `of` consecutive elements of a line: from 0 to `of`. */
  readonly keep: number;
  /** At most 16; divides the line. */
  readonly of: number;
}

export interface RemovedOperations {
  /**
   * The sum over rows of C * lost / total. The importance of an element is w² * scale [C]; total is
   * its sum over a row, and lost that of the of - keep smallest in every `of` consecutive columns,
   * the lowest column first among equals. Rows whose total is no normal float32 add nothing and
   * have no derivative.
   *
   * @param w [R, C]
   * @param gradient [R, C], takes the derivatives by w with the choice of the smallest held fixed
   */
  removedRows(w: Tensor, gradient: Tensor, options: RemovedOptions): Promise<number>;
  /** The same over columns: R * lost / total, groups being `of` consecutive rows of a column. */
  removedColumns(w: Tensor, gradient: Tensor, options: RemovedOptions): Promise<number>;
}

export const removed: Contracts<RemovedOperations> = {
  removedRows: {
    check(w, gradient, options) {
      lineRule("removedRows", w, gradient, colsOf(w), options);
      patternRule("removedRows", colsOf(w), options.keep, options.of, "columns");
    },
  },
  removedColumns: {
    check(w, gradient, options) {
      lineRule("removedColumns", w, gradient, rowsOf(w), options);
      patternRule("removedColumns", rowsOf(w), options.keep, options.of, "rows");
    },
  },
};
