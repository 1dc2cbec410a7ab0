import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { Contracts } from "./contract.js";
import { diagonalBlocks, dtype, matrix, rule } from "./rules.js";

export interface CoreSweepOptions {
  /** From the last columns to the first. @default false */
  readonly backwards?: boolean | undefined;
}

export interface CoreSweepOperations {
  /**
   * One pass of block coordinate descent over a 2:4 core, in place with its mask: group by group of
   * 4 columns it takes the two places and values that lower f most, all others staying. f is a
   * constant + 2 <D, dS> + sum over blocks p of rows of trace(G_p dS_p H dS_pᵀ).
   *
   * @param core S [R, C]
   * @param mask u8 [R, C], 1 = kept
   * @param gradient D [R, C], half of df/dS at the start; the pass uses it up
   * @param gram G [R / a, a, a], symmetric blocks
   * @param hessian H [C, C], symmetric
   * @returns what f falls by
   */
  coreSweep(
    core: Tensor,
    mask: Tensor,
    gradient: Tensor,
    gram: Tensor,
    hessian: Tensor,
    options?: CoreSweepOptions,
  ): Promise<number>;
}

export const coreSweep: Contracts<CoreSweepOperations> = {
  coreSweep: {
    check(core, mask, gradient, gram, hessian) {
      const [rows, cols] = [rowsOf(core), colsOf(core)];
      dtype("coreSweep", "core", core, "f32");
      rule("coreSweep", cols % 4 === 0, `${cols} columns are not a multiple of 4.`);
      matrix("coreSweep", "mask", mask, rows, cols, "u8");
      matrix("coreSweep", "gradient", gradient, rows, cols);
      diagonalBlocks("coreSweep", "gram", gram, rows);
      matrix("coreSweep", "hessian", hessian, cols, cols);
    },
  },
};
