import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { Contracts } from "./contract.js";
import { matrix, rule } from "./rules.js";

export interface RopeOperations {
  /**
   * Rotates x [T, heads * headDim] in place: row t is position start + t; element i of a head pairs
   * with i + headDim/2.
   *
   * @param cos [positions, headDim / 2]; sin likewise
   */
  rope(x: Tensor, cos: Tensor, sin: Tensor, start: number): void;
}

export const rope: Contracts<RopeOperations> = {
  rope: {
    check(x, cos, sin, start) {
      const half = colsOf(cos);
      matrix("rope", "sin", sin, rowsOf(cos), half);
      rule(
        "rope",
        half > 0 && colsOf(x) % (2 * half) === 0 && start >= 0 && start + rowsOf(x) <= rowsOf(cos),
        `x [${x.shape}] at position ${start} does not fit tables of [${cos.shape}].`,
      );
    },
  },
};
