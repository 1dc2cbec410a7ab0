/**
 * Levels of a table that are fitted to a matrix: k-means in one dimension over all weights, each divided by
 * the largest of its group (weight sharing). They do not depend on seeds: the clusters begin at quantiles.
 */
import type { Backend } from "../backend.js";
import { LARGEST_LEVEL } from "../forms/table.js";
import type { OpenGrid } from "../grid.js";
import { colsOf, rowsOf, type Tensor } from "../tensor.js";
import { fitCodebook } from "./fit-codebook.js";
import { kMeans, type Places } from "./k-means.js";

/** Cells between -1 and 1 in which weights count as one place, by the mean of theirs. */
const CELLS = 2048;
/**
 * Writes the levels of grids whose tables or code books are to be fitted. Of other grids nothing changes.
 *
 * @param w [outFeatures, inFeatures]
 * @param omega [inFeatures], what an error in each column weighs
 */
export async function fitTables(
  backend: Backend,
  w: Tensor,
  omega: Tensor,
  grids: readonly OpenGrid[],
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const { grid, options, levels } of grids) {
    if (levels !== "table" && levels !== "pairs") continue;
    const values = (await backend.read(w)) as Float32Array;
    const weights = (await backend.read(omega)) as Float32Array;
    if (grid.codebook) {
      const count = rowsOf(grid.codebook);
      const book = await fitCodebook(values, weights, count, options.groupSize, signal);
      backend.write(grid.codebook, book);
    }
    if (!grid.table) continue;
    const places = gather(values, weights, options.groupSize, colsOf(w));
    backend.write(grid.table, wholeLevels(kMeans(places, 2 ** options.bits)));
  }
}

/** Weights over the largest of their groups; an error there weighs as it does in the matrix. */
function gather(
  values: Float32Array,
  omega: Float32Array,
  groupSize: number,
  cols: number,
): Places {
  const [sums, totals] = [0, 1].map(() => new Float64Array(CELLS));
  for (let row = 0; row < values.length; row += cols) {
    for (let first = 0; first < cols; first += groupSize) {
      const group = values.subarray(row + first, row + Math.min(first + groupSize, cols));
      let largest = 0;
      for (const value of group) largest = Math.max(largest, Math.abs(value));
      // NaN and infinity show in the scales.
      if (!(largest > 0 && largest < Number.POSITIVE_INFINITY)) continue;
      for (const [i, value] of group.entries()) {
        const at = value / largest;
        const cell = Math.min(CELLS - 1, Math.floor(((at + 1) * CELLS) / 2));
        const weight = omega[first + i] * largest * largest;
        totals[cell] += weight;
        sums[cell] += weight * at;
      }
    }
  }
  const used = [...totals.keys()].filter((cell) => totals[cell] > 0);
  return {
    at: Float64Array.from(used, (cell) => sums[cell] / totals[cell]),
    weights: Float64Array.from(used, (cell) => totals[cell]),
  };
}

/** Levels as whole numbers, the largest of which is the largest that there is; of 0 alone, -1 to 1. */
function wholeLevels(levels: Float64Array): Float32Array {
  const largest = levels.reduce((most, level) => Math.max(most, Math.abs(level)), 0);
  if (largest === 0) return Float32Array.from(levels, (_, i) => (i === 0 ? -1 : 1));
  return Float32Array.from(levels, (level) => Math.round((level / largest) * LARGEST_LEVEL));
}
