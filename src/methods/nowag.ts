import { keepBest } from "../mask.js";
import type { Method } from "../method.js";
import { colsOf, rowsOf } from "../tensor.js";

/** The reciprocal of x, or 0 where x is 0: an all-zero row or column then scores 0. */
function reciprocal(x: number): number {
  return x > 0 ? 1 / x : 0;
}

/**
 * Inputs that were always zero count with the mean of the others, as in the authors' driver:
 * calibration says nothing about them.
 */
function fillDead(squares: Float32Array): Float32Array {
  const alive = squares.filter((square) => square > 0);
  const mean = alive.reduce((sum, square) => sum + square, 0) / Math.max(1, alive.length);
  return squares.map((square) => (square > 0 ? square : mean));
}

/**
 * NoWag-P (arXiv 2504.14569, section 3): normalise the columns of W to unit norm, then the rows,
 * W̄_ij = W_ij / (c_j r_i), and keep the largest importance W̄² h_j, h the diagonal of the inputs'
 * second moment. The score here is its square root. No weight update; unstructured selection runs
 * over the whole layer.
 */
export const nowag: Method<Record<string, never>> = {
  name: "nowag",
  summary: "Wanda's score on a weight matrix whose columns and rows were normalised",
  source: "Liu et al. 2025, arXiv 2504.14569",
  needs: ["columnSquares"],
  options: {},
  async prune(problem) {
    const { backend, weight, statistics } = problem;
    const { ops } = backend;
    const [rows, cols] = [rowsOf(weight), colsOf(weight)];
    const vector = backend.zeros([cols]);
    ops.accumulateColumnSquares(weight, vector);
    const columnNorms = ((await backend.read(vector)) as Float32Array).map(Math.sqrt);
    const inverseColumns = columnNorms.map(reciprocal);
    backend.write(vector, inverseColumns);
    const rowVector = backend.zeros([rows]);
    ops.rowSquares(weight, rowVector, vector);
    const inverseRows = ((await backend.read(rowVector)) as Float32Array).map((sum) =>
      reciprocal(Math.sqrt(sum)),
    );
    const moments = fillDead((await backend.read(statistics.columnSquares!)) as Float32Array);
    backend.write(
      vector,
      inverseColumns.map((inverse, j) => inverse * Math.sqrt(moments[j])),
    );
    backend.write(rowVector, inverseRows);
    const outcome = keepBest(problem, { columns: vector, rows: rowVector }, "matrix");
    vector.dispose();
    rowVector.dispose();
    return outcome;
  },
};
