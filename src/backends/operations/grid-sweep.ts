import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { Cancellable, Contracts } from "./contract.js";
import { checkGrid, type FitOptions, type GridTensors } from "./fit-scales.js";
import { dtype, matrix, patternRule, rule } from "./rules.js";

/** n weights kept of every m columns. */
export interface KeptPattern {
  readonly n: number;
  readonly m: number;
}

export interface GridSweepOptions extends FitOptions, Cancellable {
  /**
   * Which weights go, where the sweep is to choose: all but `n` of every `m` columns, those with the
   * smallest w² / u[j][j]², group of m by group of m from the weights as updated so far, as `columnSweep`
   * does. `mask` is then written. Scales are fitted to the weights that would stay as the weights are
   * where the fit stands (2:4 with SparseGPT's `--wbits`, arXiv 2301.00774, fits them to all).
   *
   * @default `mask` says it
   */
  readonly pattern?: KeptPattern | undefined;
}

export interface GridSweepOperations {
  /**
   * Gives the columns of w new values from the first to the last, and compensates each column's error
   * in those after it, as `columnSweep` does. A column's new values are the nearest ones on a grid,
   * whose scales are fitted where a group of columns begins (or the block of its groups, in a grid with
   * units), to the weights as updated so far, with 1 / u[j][j]² for what an error of column j weighs
   * (GPTQ, arXiv 2210.17323). A weight that goes has the zero point's code, and its error is all of it.
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
 *
 * @param m columns that a block does not tear, which divide groups and columns
 */
export function gridBlocks(
  cols: number,
  groupSize: number,
  m = 1,
): readonly { readonly start: number; readonly width: number }[] {
  const whole = groupSize * Math.max(1, Math.floor(BLOCK / groupSize));
  const part = BLOCK - (BLOCK % m);
  const blocks: { start: number; width: number }[] = [];
  for (let first = 0; first < cols; first += whole) {
    const end = Math.min(cols, first + whole);
    for (let start = first; start < end; start += part) {
      blocks.push({ start, width: Math.min(part, end - start) });
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
      const { pattern, mask, groupSize } = options;
      if (!pattern) return;
      patternRule("gridSweep", cols, pattern.n, pattern.m);
      rule("gridSweep", mask !== undefined, "a pattern needs a mask that it is written to.");
      rule("gridSweep", !grid.zeros, "a grid with zero points is not for weights that go.");
      rule(
        "gridSweep",
        groupSize >= cols || groupSize % pattern.m === 0,
        `groupSize ${groupSize} is not a multiple of M=${pattern.m}; choose one that is, such as ${pattern.m * 8}.`,
      );
    },
  },
};
