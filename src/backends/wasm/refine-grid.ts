import type { Operations } from "../../backend.js";
import { colsOf } from "../../tensor.js";
import { gridAddresses, rowAddress, sweepBlocks, withGrid } from "./grid-block.js";
import type { Kernels } from "./kernels.js";

export function bind(kernels: Kernels): Partial<Operations> {
  const { exports } = kernels;
  return {
    refineGrid(grid, gradient, h, options) {
      const cols = colsOf(gradient);
      const { mask, groupSize, signal } = options;
      return withGrid(kernels, grid, options, cols, (settings) =>
        sweepBlocks(
          kernels,
          "refineGridBlock",
          { w: gradient, u: h, groupSize, signal },
          (width) => exports.refineGridScratch(width),
          ({ width, start, u }, row, count, changes) => {
            return [
              ...[count, width, cols, start, rowAddress(gradient, row), u],
              ...[...gridAddresses(grid, row), rowAddress(mask, row), changes, settings],
            ];
          },
        ),
      );
    },
  };
}
