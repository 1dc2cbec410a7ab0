import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { address, equalRanges, type Kernels, runRanges, withScratch } from "./kernels.js";
import { IN_COLUMNS, IN_ROWS, multiply } from "./product.js";

/** Columns that are swept before those after them are updated. */
const TILE = 128;
/** The falls of about this many rows are added up together, whatever the number of threads. */
const CHUNK = 64;

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
          const falls = runRanges(
            kernels,
            "coreSweepTile",
            equalRanges(rows, a * Math.max(1, Math.floor(CHUNK / a))),
            rows * width * (a + width),
            () => exports.coreSweepScratch(a),
            ({ start: first, count }) => [
              ...[count, a, cols, start, width, flags, address(core) + first * cols * 4],
              ...[
                address(mask) + first * cols,
                d + first * cols * 4,
                address(gram) + first * a * 4,
              ],
              ...[h, errors + first * width * 4],
            ],
          );
          const fall = falls.reduce((sum, part) => sum + part, 0);
          if (trailing === 0) return fall;
          multiply(kernels, {
            ...{ m: rows, n: trailing, k: width },
            a: { at: errors, ld: width, layout: IN_ROWS },
            b: { at: h + (start * cols + from) * 4, ld: cols, layout: IN_COLUMNS },
            ...{ out: d + from * 4, ldo: cols },
          });
          return fall;
        });
      }
      return gain;
    },
  };
}
