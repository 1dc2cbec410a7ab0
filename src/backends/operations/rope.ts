import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { Contracts } from "./contract.js";
import { matrix, rule } from "./rules.js";

export interface RopeOperations {
  /**
   * Rotates x [T, heads * headDim] in place: row t is position start + t; element i of a head pairs
   * with i + half, and what the head has beyond 2 half elements stays.
   *
   * @param cos [positions, half]; sin likewise
   * @param headDim @default 2 half
   */
  rope(x: Tensor, cos: Tensor, sin: Tensor, start: number, headDim?: number): void;
}

export const rope: Contracts<RopeOperations> = {
  rope: {
    check(x, cos, sin, start, headDim = 2 * colsOf(cos)) {
      const half = colsOf(cos);
      matrix("rope", "sin", sin, rowsOf(cos), half);
      const isWhole = half > 0 && headDim >= 2 * half && colsOf(x) % headDim === 0;
      rule(
        "rope",
        isWhole && start >= 0 && start + rowsOf(x) <= rowsOf(cos),
        `x [${x.shape}] of heads of ${headDim} at position ${start} does not fit tables of [${cos.shape}].`,
      );
    },
  },
};
