import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { Contracts } from "./contract.js";
import { dtype, matrix, patternRule, rule, sameSize, vector } from "./rules.js";

export interface MaskOperations {
  /** out = |w| * columnScale[column] * rowScale[row] for w [R, C]; a missing scale is 1. */
  scaledMagnitude(
    w: Tensor,
    out: Tensor,
    columnScale: Tensor | undefined,
    rowScale: Tensor | undefined,
  ): void;
  /**
   * mask u8 [R, C] = 1 for the n largest scores of every m consecutive columns. Among equals the
   * lowest column goes first. m <= 16 divides C.
   */
  selectNofM(scores: Tensor, mask: Tensor, n: number, m: number): void;
  /**
   * mask u8 [R, C] = 0 for exactly the `count` smallest scores of each row. Among equals the lowest
   * column goes first.
   */
  selectPerRow(scores: Tensor, mask: Tensor, count: number): void;
  /**
   * mask u8 [R, C] = 0 for exactly the `count` smallest scores of the whole matrix. Among equals
   * the lowest flat index goes first.
   */
  selectPerMatrix(scores: Tensor, mask: Tensor, count: number): void;
  /** w = 0 where mask u8 is 0. */
  applyMask(w: Tensor, mask: Tensor): void;
}

export const mask: Contracts<MaskOperations> = {
  scaledMagnitude: {
    rows: [0, 1, 3],
    check(w, out, columnScale, rowScale) {
      matrix("scaledMagnitude", "out", out, rowsOf(w), colsOf(w));
      if (columnScale) vector("scaledMagnitude", "columnScale", columnScale, colsOf(w));
      if (rowScale) vector("scaledMagnitude", "rowScale", rowScale, rowsOf(w));
    },
  },
  selectNofM: {
    rows: [0, 1],
    check(scores, mask, n, m) {
      matrix("selectNofM", "mask", mask, rowsOf(scores), colsOf(scores), "u8");
      patternRule("selectNofM", colsOf(scores), n, m);
    },
  },
  selectPerRow: {
    check(scores, mask, count) {
      matrix("selectPerRow", "mask", mask, rowsOf(scores), colsOf(scores), "u8");
      rule("selectPerRow", count >= 0 && count <= colsOf(scores), `count ${count} exceeds a row.`);
    },
  },
  selectPerMatrix: {
    check(scores, mask, count) {
      matrix("selectPerMatrix", "mask", mask, rowsOf(scores), colsOf(scores), "u8");
      rule(
        "selectPerMatrix",
        count >= 0 && count <= scores.size,
        `count ${count} exceeds the matrix.`,
      );
    },
  },
  applyMask: {
    elements: [0, 1],
    check(w, mask) {
      dtype("applyMask", "w", w, "f32");
      dtype("applyMask", "mask", mask, "u8");
      sameSize("applyMask", w, mask);
    },
  },
};
