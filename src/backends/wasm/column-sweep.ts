import type { Operations } from "../../backend.js";
import { pacer } from "../../run.js";
import { removedCount } from "../../sparsity.js";
import { colsOf, rowsOf, type Tensor, u8 } from "../../tensor.js";
import { dropSmallest } from "../selection.js";
import { address, equalRanges, floatsAt, type Kernels, runRanges, withScratch } from "./kernels.js";
import { type ColumnBlock, updateTrailing } from "./trailing.js";

/** The losses of this many rows are added up together, whatever the number of threads. */
const CHUNK = 64;
/** Multiply-adds for each weight of a block, about. */
const SWEEP_WORK = 64;

export function bind(kernels: Kernels): Partial<Operations> {
  const { exports, storage } = kernels;
  return {
    async columnSweep(w, u, mask, { pattern, blockSize, signal }) {
      const [rows, cols] = [rowsOf(w), colsOf(w)];
      const [m, drop] = "m" in pattern ? [pattern.m, pattern.m - pattern.n] : [0, 0];
      const breathe = pacer(signal);
      const bytes = rows * Math.min(blockSize, cols) * 4;
      const errors = storage.reserve(bytes);
      let loss = 0;
      try {
        for (let start = 0; start < cols; start += blockSize) {
          const width = Math.min(blockSize, cols - start);
          const wAt = address(w) + start * 4;
          const uAt = address(u) + start * (cols + 1) * 4;
          const block: ColumnBlock = { rows, cols, start, width, w: wAt, u: uAt };
          if ("ratio" in pattern) chooseByRatio(kernels, block, mask, pattern.ratio);
          const losses = runRanges(
            kernels,
            "columnSweepBlock",
            equalRanges(rows, CHUNK),
            rows * width * SWEEP_WORK,
            () => exports.columnSweepScratch(width),
            ({ start: row, count }) => [
              ...[count, width, cols, m, drop, wAt + row * cols * 4, uAt],
              ...[address(mask) + row * cols + start, errors + row * width * 4],
            ],
          );
          for (const part of losses) loss += part;
          await updateTrailing(kernels, block, errors, breathe);
        }
      } finally {
        storage.free(errors, bytes);
      }
      return loss;
    },
  };
}

/** One choice over all rows of the block: its smallest scores go. */
function chooseByRatio(kernels: Kernels, block: ColumnBlock, mask: Tensor, ratio: number): void {
  const { exports } = kernels;
  const { rows, cols, start, width, w, u } = block;
  const size = rows * width;
  const keep = new Uint8Array(size);
  withScratch(kernels, exports.columnSweepScratch(width), (scratch) =>
    withScratch(kernels, size * 4, (scores) => {
      exports.columnSweepScores(rows, width, cols, w, u, scores, scratch);
      dropSmallest(floatsAt(kernels, scores, size), keep, removedCount(size, ratio));
    }),
  );
  const maskData = u8(mask);
  for (let r = 0; r < rows; r++) {
    maskData.set(keep.subarray(r * width, (r + 1) * width), r * cols + start);
  }
}
