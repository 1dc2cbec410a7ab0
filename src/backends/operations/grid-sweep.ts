import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { Cancellable, Contracts } from "./contract.js";
import { checkGrid, type FitOptions, type GridTensors } from "./fit-scales.js";
import { dtype, matrix } from "./rules.js";

export interface GridSweepOptions extends FitOptions, Cancellable {}

export interface GridSweepOperations {
  /**
   * Gives the columns of w new values from the first to the last, and compensates each column's error
   * in those after it, as `columnSweep` does. A column's new values are the nearest ones on a grid,
   * whose scales are fitted where a group of columns begins (or the block of its groups, in a grid with
   * units), to the weights as updated so far, with 1 / u[j][j]² for what an error of column j weighs
   * (GPTQ, arXiv 2210.17323).
   *
   * @param w [R, C], changed in place: to what the grid holds
   * @param u [C, C], the upper Cholesky factor of H⁻¹
   * @param grid written
   * @returns the predicted loss, the sum of e² / 2
   */
  gridSweep(w: Tensor, u: Tensor, grid: GridTensors, options: GridSweepOptions): Promise<number>;
}

/** Columns that are updated together before all later ones are, about. */
const BLOCK = 128;

/**
 * Blocks of columns, none of which begins within one group and ends within another one: as many whole
 * groups as fit, or else parts of one.
 */
export function gridBlocks(
  cols: number,
  groupSize: number,
): readonly { readonly start: number; readonly width: number }[] {
  const whole = groupSize * Math.max(1, Math.floor(BLOCK / groupSize));
  const blocks: { start: number; width: number }[] = [];
  for (let first = 0; first < cols; first += whole) {
    const end = Math.min(cols, first + whole);
    for (let start = first; start < end; start += BLOCK) {
      blocks.push({ start, width: Math.min(BLOCK, end - start) });
    }
  }
  return blocks;
}

export const gridSweep: Contracts<GridSweepOperations> = {
  gridSweep: {
    check(w, u, grid, options) {
      const cols = colsOf(w);
      dtype("gridSweep", "w", w, "f32");
      matrix("gridSweep", "u", u, cols, cols);
      checkGrid("gridSweep", grid, options, [rowsOf(w), cols]);
    },
  },
};
