import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { factorsOf } from "../operations/fit-scales.js";
import { CHUNK, gridAddresses, withGrid } from "./grid-block.js";
import { address, equalRanges, type Kernels, runRanges } from "./kernels.js";

/** Multiply-adds that take as long as one weight's part of a candidate's error, about. */
const CANDIDATE_WORK = 4;

export function bind(kernels: Kernels): Partial<Operations> {
  const { exports } = kernels;
  return {
    async fitScales(w, omega, grid, options) {
      const [rows, cols] = [rowsOf(w), colsOf(w)];
      const { bits, mask, search } = options;
      const candidates = 1 + factorsOf(bits, grid.zeros === undefined, search).length * 2;
      await withGrid(kernels, grid, options, cols, (settings) => {
        runRanges(
          kernels,
          "fitScales",
          equalRanges(rows, CHUNK),
          w.size * candidates * CANDIDATE_WORK,
          () => exports.fitScalesScratch(Math.min(options.groupSize, cols)),
          ({ start, count }) => {
            const at = gridAddresses(grid, mask, start);
            return [
              ...[count, cols, address(w) + start * cols * 4, address(omega)],
              ...[at.codes, at.scales, at.zeros, at.mask, settings],
            ];
          },
        );
      });
    },
    async fromGrid(grid, out, options) {
      const [rows, cols] = [rowsOf(out), colsOf(out)];
      const { codes, scales, zeros } = gridAddresses(grid, undefined, 0);
      await withGrid(kernels, grid, options, cols, (settings) => {
        exports.fromGrid(rows, cols, codes, scales, zeros, settings, address(out));
      });
    },
  };
}
