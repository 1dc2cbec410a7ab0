import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { fittedTogether } from "../operations/fit-scales.js";
import { CHUNK, candidatesOf, gridAddresses, rowAddress, withGrid } from "./grid-block.js";
import { address, equalRanges, type Kernels, runRanges } from "./kernels.js";

/** Multiply-adds that take as long as one weight's part of a candidate's error, about. */
const CANDIDATE_WORK = 4;

export function bind(kernels: Kernels): Partial<Operations> {
  const { exports } = kernels;
  return {
    async fitScales(w, omega, grid, options) {
      const [rows, cols] = [rowsOf(w), colsOf(w)];
      const { bits, mask } = options;
      // An entry of a table costs as much as all of a candidate.
      const each = grid.table ? 2 ** bits : 2;
      const candidates = 1 + candidatesOf(grid, options).length * each;
      const together = Math.min(fittedTogether(grid, options.groupSize), cols);
      await withGrid(kernels, grid, options, cols, (settings) => {
        runRanges(
          kernels,
          "fitScales",
          equalRanges(rows, CHUNK),
          w.size * candidates * CANDIDATE_WORK,
          () => exports.fitScalesScratch(together),
          ({ start, count }) => [
            ...[count, cols, rowAddress(w, start), address(omega)],
            ...[...gridAddresses(grid, start), rowAddress(mask, start), settings],
          ],
        );
      });
    },
    async fromGrid(grid, out, options) {
      const [rows, cols] = [rowsOf(out), colsOf(out)];
      const [codes, scales, zeros, minima] = gridAddresses(grid, 0);
      await withGrid(kernels, grid, options, cols, (settings) => {
        exports.fromGrid(rows, cols, codes, scales, zeros, minima, settings, address(out));
      });
    },
  };
}
