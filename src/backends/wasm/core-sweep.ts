import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { address, type Kernels, withScratch } from "./kernels.js";

/** Columns that are swept before those after them are updated. */
const TILE = 128;

export function bind(kernels: Kernels): Partial<Operations> {
  const { exports } = kernels;
  return {
    async coreSweep(core, mask, gradient, gram, hessian, { backwards = false } = {}) {
      const [rows, cols, a] = [rowsOf(core), colsOf(core), colsOf(gram)];
      const tiles = Array.from({ length: Math.ceil(cols / TILE) }, (_, i) => i * TILE);
      if (backwards) tiles.reverse();
      const [d, h] = [address(gradient), address(hessian)];
      const flags = Number(backwards);
      let gain = 0;
      for (const start of tiles) {
        const width = Math.min(TILE, cols - start);
        const [from, trailing] = backwards ? [0, start] : [start + width, cols - start - width];
        gain += withScratch(kernels, rows * width * 4, (errors) => {
          const fall = withScratch(kernels, exports.coreSweepScratch(a), (scratch) => {
            const operands = [address(core), address(mask), d, address(gram), h];
            return exports.coreSweepTile(
              ...[rows, a, cols, start, width, flags],
              ...operands,
              errors,
              scratch,
            );
          });
          if (trailing === 0) return fall;
          withScratch(kernels, exports.coreSweepTrailScratch(rows, width, trailing), (scratch) => {
            const row = h + (start * cols + from) * 4;
            const shape = [rows, width, trailing, cols];
            exports.coreSweepTrail(...shape, errors, row, d + from * 4, scratch);
          });
          return fall;
        });
      }
      return gain;
    },
  };
}
