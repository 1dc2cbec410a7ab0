/**
 * What sweeps over pairs share: a block of columns is worked at on the host, row by row and in float64, and what it
 * does to the columns after it is a product on the backend.
 */
import type { Backend } from "../backend.js";
import { gridBlocks } from "../backends/operations/grid-sweep.js";
import { PAIR } from "../forms/pairs.js";
import { pacer } from "../run.js";
import { colsOf, type Tensor } from "../tensor.js";
import type { PairOptions } from "./pairs.js";

/** Columns from `start` on, of which a row is worked at, and a square matrix of theirs. */
export interface Block {
  readonly start: number;
  readonly width: number;
  /** [width, C], their rows of the matrix. */
  readonly lines: Float32Array;
}

/**
 * Goes through the columns of a matrix block by block: `work` does a row's part of a block in place and gives
 * what is then taken off the columns after it, as shares of the block's rows of `by`.
 *
 * @param matrix [R, C] on the host, changed in place
 * @param by [C, C]
 */
export async function sweepBlocks(
  backend: Backend,
  matrix: Float32Array,
  by: Tensor,
  { groupSize, signal }: Pick<PairOptions, "groupSize" | "signal">,
  work: (row: number, block: Block, shares: Float32Array) => void,
): Promise<void> {
  const cols = colsOf(by);
  const rows = matrix.length / Math.max(1, cols);
  const rest = pacer(signal);
  for (const { start, width } of gridBlocks(cols, groupSize, PAIR)) {
    const part = backend.rows(by, start, width);
    const lines = (await backend.read(part)) as Float32Array;
    const shares = new Float32Array(rows * width);
    for (let row = 0; row < rows; row++) {
      await rest();
      work(row, { start, width, lines }, shares.subarray(row * width, (row + 1) * width));
    }
    const end = start + width;
    if (end === cols) continue;
    const taken = backend.upload(shares, [rows, width]);
    const product = backend.zeros([rows, cols]);
    try {
      backend.ops.gemm(taken, part, product);
      const off = (await backend.read(product)) as Float32Array;
      for (let row = 0; row < rows; row++) {
        for (let at = row * cols + end; at < (row + 1) * cols; at++) matrix[at] -= off[at];
      }
    } finally {
      for (const tensor of [taken, product]) tensor.dispose();
    }
  }
}
