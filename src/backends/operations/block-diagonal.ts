import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { Contracts } from "./contract.js";
import type { LinearOptions } from "./form.js";
import { diagonalBlocks, dtype, matrix, rule, vector } from "./rules.js";

export interface BlockDiagonalOperations {
  /**
   * out [T, C] = x [T, C] times a block-diagonal matrix with blocks [C/b, b, b], plus bias [C]:
   * stretch k of a row of out is blocks[k] times stretch k of that row of x.
   */
  blockDiagonal(x: Tensor, blocks: Tensor, out: Tensor, options?: LinearOptions): void;
}

export const blockDiagonal: Contracts<BlockDiagonalOperations> = {
  blockDiagonal: {
    rows: [0, 2],
    check(x, blocks, out, { bias } = {}) {
      dtype("blockDiagonal", "x", x, "f32");
      diagonalBlocks("blockDiagonal", "blocks", blocks, colsOf(x));
      matrix("blockDiagonal", "out", out, rowsOf(x), colsOf(x));
      if (bias) vector("blockDiagonal", "bias", bias, colsOf(x));
      rule("blockDiagonal", x !== out, "out is x; give another tensor.");
    },
  },
};
