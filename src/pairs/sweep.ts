import type { Backend } from "../backend.js";
import { gridBlocks } from "../backends/operations/grid-sweep.js";
import { PAIR } from "../forms/pairs.js";
import { colsOf, type Tensor } from "../tensor.js";
import { sweepBlocks } from "./blocks.js";
import { fitScale } from "./fit.js";
import { type Metric, nearestPair, onHost, type PairOptions, type PairTensors } from "./pairs.js";

/**
 * Puts a matrix in pairs from the first to the last, and compensates the error of each in the columns after it,
 * as `gridSweep` does by columns: with T the 2 x 2 block of u on the diagonal, a pair's code is the one with the
 * least |e|², e = (pair - its values) T⁻¹, and e times the two rows of u is taken off. A group's scale is fitted
 * where the sweep reaches it, to the weights as they are then.
 *
 * @param w [R, C]
 * @param u [C, C], the upper Cholesky factor of H⁻¹
 * @param grid codes and scales are written
 * @returns the predicted loss, the sum of e² / 2
 */
export async function pairSweep(
  backend: Backend,
  w: Tensor,
  u: Tensor,
  grid: PairTensors,
  options: PairOptions,
): Promise<number> {
  const cols = colsOf(w);
  const { groupSize } = options;
  const host = await onHost(backend, grid, groupSize);
  const { book } = host;
  const matrix = (await backend.read(w)) as Float32Array;
  const blocks = await diagonalBlocks(backend, u);
  const metrics = blocks.map(({ p, q, r }): Metric => {
    const yy = 1 / r ** 2;
    return { xx: (1 + (q / r) ** 2) / p ** 2, xy: (-q / p) * yy, yy };
  });
  let loss = 0;
  await sweepBlocks(backend, matrix, u, options, (row, { start, width, lines }, errors) => {
    const x = Float64Array.from(matrix.subarray(row * cols + start, row * cols + start + width));
    for (let i = 0; i < width; i += PAIR) {
      const col = start + i;
      if (col % groupSize === 0) {
        const end = Math.min(cols, col + groupSize);
        // What of a group is beyond its first block is up to date in the matrix.
        const group = Float64Array.from(matrix.subarray(row * cols + col, row * cols + end));
        group.set(x.subarray(i, i + group.length));
        const own = metrics.slice(col / PAIR, end / PAIR);
        host.scales[host.scaleAt(row, col)] = fitScale(book, group, own, options);
      }
      const scale = host.scales[host.scaleAt(row, col)];
      const code = nearestPair(book, scale, x[i], x[i + 1], metrics[col / PAIR]);
      host.codes[host.codeAt(row, col)] = code;
      const { p, q, r } = blocks[col / PAIR];
      const first = (x[i] - scale * book[PAIR * code]) / p;
      const second = (x[i + 1] - scale * book[PAIR * code + 1] - first * q) / r;
      loss += (first ** 2 + second ** 2) / 2;
      errors[i] = first;
      errors[i + 1] = second;
      const [upper, lower] = [i * cols + start, (i + 1) * cols + start];
      for (let k = i + PAIR; k < width; k++) {
        x[k] -= first * lines[upper + k] + second * lines[lower + k];
      }
    }
  });
  host.store();
  return loss;
}

/** [p, q; 0, r] for each pair: its block of an upper triangular matrix. */
async function diagonalBlocks(backend: Backend, u: Tensor) {
  const cols = colsOf(u);
  const blocks: { readonly p: number; readonly q: number; readonly r: number }[] = [];
  for (const { start, width } of gridBlocks(cols, PAIR)) {
    const lines = (await backend.read(backend.rows(u, start, width))) as Float32Array;
    for (let i = 0; i < width; i += PAIR) {
      const [upper, lower] = [i * cols + start + i, (i + 1) * cols + start + i + 1];
      blocks.push({ p: lines[upper], q: lines[upper + 1], r: lines[lower] });
    }
  }
  return blocks;
}
