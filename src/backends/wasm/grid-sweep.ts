import type { Operations } from "../../backend.js";
import { colsOf, f32 } from "../../tensor.js";
import { fittedTogether } from "../operations/fit-scales.js";
import { gridAddresses, rowAddress, sweepBlocks, withGrid } from "./grid-block.js";
import { floatsAt, type Kernels } from "./kernels.js";

export function bind(kernels: Kernels): Partial<Operations> {
  const { exports, storage } = kernels;
  return {
    async gridSweep(w, u, grid, options) {
      const cols = colsOf(w);
      const { mask, signal, pattern } = options;
      const groupSize = fittedTogether(grid, options.groupSize);
      const omega = storage.reserve(4 * cols);
      try {
        const factor = f32(u);
        const weights = floatsAt(kernels, omega, cols);
        for (let j = 0; j < cols; j++) weights[j] = 1 / factor[j * (cols + 1)] ** 2;
        return await withGrid(kernels, grid, options, cols, (settings) =>
          sweepBlocks(
            kernels,
            "gridSweepBlock",
            { w, u, groupSize, m: pattern?.m, signal },
            () => exports.gridSweepScratch(Math.min(groupSize, cols)),
            ({ width, start, u: uAt }, row, count, errors) => {
              return [
                ...[count, width, cols, start, rowAddress(w, row), uAt, omega],
                ...[...gridAddresses(grid, row), rowAddress(mask, row), errors, settings],
              ];
            },
          ),
        );
      } finally {
        storage.free(omega, 4 * cols);
      }
    },
  };
}
