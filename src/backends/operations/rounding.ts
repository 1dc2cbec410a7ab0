import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { Contracts } from "./contract.js";
import { type EntropyOptions, lineRule } from "./entropy.js";
import { rule } from "./rules.js";

export interface RoundingOptions extends EntropyOptions {
  /** Elements of a line that share a scale; the last group of a line may have fewer. */
  readonly groupSize: number;
  /** p of the mean: 2, 4, 8 or 16. The larger it is, the nearer the mean comes to the largest. */
  readonly power: number;
}

export interface RoundingOperations {
  /**
   * The sum over rows and their groups of N² times the sum of scale [C] over the group, with N the
   * p-norm (mean |w|^p)^(1/p) of a group: what rounding to a grid is expected to cost, its step being
   * in proportion to N, a largest weight made smooth. A group whose largest weight is no normal
   * float32 adds nothing and has no derivative.
   *
   * @param w [R, C]
   * @param gradient [R, C], takes the derivatives by w
   */
  roundingRows(w: Tensor, gradient: Tensor, options: RoundingOptions): Promise<number>;
  /** The same over columns: groups are of consecutive rows of a column, and scale has [R]. */
  roundingColumns(w: Tensor, gradient: Tensor, options: RoundingOptions): Promise<number>;
}

/** What p may be: squares, and square roots back, are all that it takes. */
export const POWERS: readonly number[] = [2, 4, 8, 16];

function groupRule(operation: string, { groupSize, power }: RoundingOptions): void {
  rule(
    operation,
    Number.isSafeInteger(groupSize) && groupSize >= 1,
    `groupSize is ${groupSize}, must be a whole number of at least 1.`,
  );
  rule(operation, POWERS.includes(power), `power is ${power}, must be 2, 4, 8 or 16.`);
}

export const rounding: Contracts<RoundingOperations> = {
  roundingRows: {
    check(w, gradient, options) {
      lineRule("roundingRows", w, gradient, colsOf(w), options);
      groupRule("roundingRows", options);
    },
  },
  roundingColumns: {
    check(w, gradient, options) {
      lineRule("roundingColumns", w, gradient, rowsOf(w), options);
      groupRule("roundingColumns", options);
    },
  },
};
