import { keepBest } from "./mask.js";
import type { LinearProblem, PruneOutcome } from "./method.js";
import { colsOf, rowsOf } from "./tensor.js";

/** What NoWag's normalisation W̄_ij = W_ij / (c_j r_i) divides by, and the inputs' moments. */
export interface Normalisation {
  /** [cols] 1 / c_j, c_j = ||W_:j||; 0 where the column is zero. */
  readonly inverseColumns: Float32Array;
  /** [rows] 1 / r_i, r_i = ||(W / c)_i:||; 0 where the row is zero. */
  readonly inverseRows: Float32Array;
  /** [cols] sums of squares of the inputs; those of dead inputs are the mean of the others. */
  readonly moments: Float32Array;
}

/**
 * Unit norm for the columns of W, then for its rows (NoWag, arXiv 2504.14569, section 3). Reads the
 * statistic `columnSquares`.
 */
export async function normalise(problem: LinearProblem): Promise<Normalisation> {
  const { backend, weight, statistics } = problem;
  const { ops } = backend;
  const [rows, cols] = [rowsOf(weight), colsOf(weight)];
  const vector = backend.zeros([cols]);
  const rowVector = backend.zeros([rows]);
  ops.accumulateColumnSquares(weight, vector);
  const columnNorms = ((await backend.read(vector)) as Float32Array).map(Math.sqrt);
  const inverseColumns = columnNorms.map(reciprocal);
  backend.write(vector, inverseColumns);
  ops.rowSquares(weight, rowVector, vector);
  const rowSquares = (await backend.read(rowVector)) as Float32Array;
  const inverseRows = rowSquares.map((sum) => reciprocal(Math.sqrt(sum)));
  vector.dispose();
  rowVector.dispose();
  const moments = fillDead((await backend.read(statistics.tensors.columnSquares)) as Float32Array);
  return { inverseColumns, inverseRows, moments };
}

/**
 * NoWag-P: keeps the largest W̄² h_j, h the moments, as `keepBest` does. Unstructured selection runs
 * over the whole layer.
 */
export function keepNormalised(
  problem: LinearProblem,
  { inverseColumns, inverseRows, moments }: Normalisation,
): PruneOutcome {
  const { backend } = problem;
  const scale = inverseColumns.map((inverse, j) => inverse * Math.sqrt(moments[j]));
  const columns = backend.upload(scale, [scale.length]);
  const rows = backend.upload(inverseRows, [inverseRows.length]);
  const outcome = keepBest(problem, { columns, rows }, "matrix");
  columns.dispose();
  rows.dispose();
  return outcome;
}

/** The reciprocal of x, or 0 where x is 0: an all-zero row or column then counts for nothing. */
function reciprocal(x: number): number {
  return x > 0 ? 1 / x : 0;
}

/**
 * Inputs that were always zero count with the mean of the others, as in the authors' driver:
 * calibration says nothing about them. When all were, each counts with 1.
 */
function fillDead(squares: Float32Array): Float32Array {
  const alive = squares.filter((square) => square > 0);
  const mean = alive.length > 0 ? alive.reduce((sum, square) => sum + square, 0) / alive.length : 1;
  return squares.map((square) => (square > 0 ? square : mean));
}
