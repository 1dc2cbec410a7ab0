import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { Contracts } from "./contract.js";
import { matrix, rule } from "./rules.js";

export interface TwoFourOperations {
  /**
   * Packs w [rows, cols] into values f32 [rows, cols/2] and indices u8 [rows, ceil(cols/8)]
   * (layouts/two-four.ts). Resolves to the flat index of the first group of 4 with more than 2
   * non-zeros (counting row-major, cols/4 groups a row), or -1 when all fit.
   */
  packTwoFour(w: Tensor, values: Tensor, indices: Tensor): Promise<number>;
  /** The inverse of `packTwoFour`: fills w [rows, cols]. */
  unpackTwoFour(values: Tensor, indices: Tensor, w: Tensor): void;
}

function check(operation: string, w: Tensor, values: Tensor, indices: Tensor): void {
  const [rows, cols] = [rowsOf(w), colsOf(w)];
  const cure = "use the dense layout.";
  rule(operation, cols % 4 === 0, `${cols} columns are not a multiple of 4; ${cure}`);
  matrix(operation, "values", values, rows, cols / 2);
  matrix(operation, "indices", indices, rows, Math.ceil(cols / 8), "u8");
}

export const twoFour: Contracts<TwoFourOperations> = {
  packTwoFour: {
    rows: [0, 1, 2],
    // The first group of 4 that does not fit, of all.
    join(found, starts, w) {
      const part = found.findIndex((group) => group >= 0);
      return part < 0 ? -1 : (starts[part] * colsOf(w)) / 4 + found[part];
    },
    check: (w, values, indices) => check("packTwoFour", w, values, indices),
  },
  unpackTwoFour: {
    rows: [0, 1, 2],
    check: (values, indices, w) => check("unpackTwoFour", w, values, indices),
  },
};
