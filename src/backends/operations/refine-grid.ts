import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { Cancellable, Contracts } from "./contract.js";
import { checkGrid, type GridOptions, type GridTensors } from "./fit-scales.js";
import { dtype, matrix } from "./rules.js";

/** Columns of a group, at most, whose scale is refined too. */
export const LARGEST_REFINED = 128;

export interface RefineGridOptions extends GridOptions, Cancellable {}

export interface RefineGridOperations {
  /**
   * One pass of coordinate descent over a matrix on a grid, in place: column by column each code
   * becomes the one that makes f = trace(D H Dᵀ) least, all else staying, D being a matrix less that of
   * the grid. After the columns of a group its scale does, rounded, and then its minimum where it has one;
   * not where a group has more than 128 columns. f never rises.
   *
   * @param grid codes, scales and minima change, zero points and units stay
   * @param gradient D H [R, C] at the start; the pass uses it up
   * @param h H [C, C], symmetric
   * @returns what f falls by
   */
  refineGrid(
    grid: GridTensors,
    gradient: Tensor,
    h: Tensor,
    options: RefineGridOptions,
  ): Promise<number>;
}

export const refineGrid: Contracts<RefineGridOperations> = {
  refineGrid: {
    check(grid, gradient, h, options) {
      const cols = colsOf(gradient);
      dtype("refineGrid", "gradient", gradient, "f32");
      matrix("refineGrid", "h", h, cols, cols);
      checkGrid("refineGrid", grid, options, [rowsOf(gradient), cols]);
    },
  },
};
