/**
 * A matrix in pairs of a code book (forms/pairs.ts): scales, codes, the sweep that repairs later columns, and
 * coordinate descent. What a block of columns does to those after it is a product on the backend; the rest is
 * computed here, in float64, row by row.
 */
import type { Backend } from "../backend.js";
import { type GridOptions, roundScale, SMALLEST_HALF } from "../backends/operations/fit-scales.js";
import { gridBlocks } from "../backends/operations/grid-sweep.js";
import { LARGEST_REFINED } from "../backends/operations/refine-grid.js";
import { PAIR } from "../forms/pairs.js";
import { pacer } from "../run.js";
import { colsOf, rowsOf, type Tensor } from "../tensor.js";
import { meanSize } from "./fit-codebook.js";

/** What the root mean square of a group is multiplied by for the scales that are tried, of either sign. */
const FACTORS = Array.from({ length: 33 }, (_, i) => 0.5 + 0.025 * i);
/** How often a scale is fitted to the codes that it gives, at most. */
const ROUNDS = 2;

/** Codes [R, C / 2] u8, scales [R, K] and a code book [count, 2] of a matrix [R, C]. */
export interface PairTensors {
  readonly codes: Tensor;
  readonly scales: Tensor;
  readonly codebook: Tensor;
}

export type PairOptions = Pick<GridOptions, "groupSize" | "scaleType"> & {
  readonly search: boolean;
  readonly signal?: AbortSignal | undefined;
};

/** What errors x and y of a pair cost together: xx x² + 2 xy x y + yy y². */
interface Metric {
  readonly xx: number;
  readonly xy: number;
  readonly yy: number;
}

/** The entry of a code book, times a scale, that costs a pair the least; the first of equal ones. */
export function nearestPair(
  book: Float32Array,
  scale: number,
  x: number,
  y: number,
  { xx, xy, yy }: Metric,
): number {
  let best = 0;
  let least = Number.POSITIVE_INFINITY;
  for (let at = 0; at < book.length; at += PAIR) {
    const dx = x - scale * book[at];
    const dy = y - scale * book[at + 1];
    const error = (xx * dx + 2 * xy * dy) * dx + yy * dy * dy;
    if (!(error < least)) continue;
    least = error;
    best = at;
  }
  return best / PAIR;
}

/**
 * The scale of a group with the least error among the candidates, and then as its codes want it.
 *
 * @param x the group's columns
 * @param metrics of each pair
 */
export function fitScale(
  book: Float32Array,
  x: Float64Array,
  metrics: readonly Metric[],
  { scaleType, search }: Pick<PairOptions, "scaleType" | "search">,
): number {
  const size = meanSize(x);
  if (size === 0) return SMALLEST_HALF;
  /** What a scale costs, and the scale that would cost its codes the least. */
  const judge = (scale: number) => {
    let error = 0;
    let linear = 0;
    let square = 0;
    for (let i = 0; i < metrics.length; i++) {
      const a = x[PAIR * i];
      const b = x[PAIR * i + 1];
      const at = PAIR * nearestPair(book, scale, a, b, metrics[i]);
      const p = book[at];
      const q = book[at + 1];
      const { xx, xy, yy } = metrics[i];
      const dx = a - scale * p;
      const dy = b - scale * q;
      error += xx * dx * dx + 2 * xy * dx * dy + yy * dy * dy;
      linear += xx * p * a + xy * (p * b + q * a) + yy * q * b;
      square += xx * p * p + 2 * xy * p * q + yy * q * q;
    }
    return { error, wanted: linear / square };
  };
  let best = roundScale(size, scaleType);
  let found = judge(best);
  const consider = (scale: number): boolean => {
    const other = judge(scale);
    if (!(other.error < found.error)) return false;
    found = other;
    best = scale;
    return true;
  };
  for (const factor of search ? FACTORS : []) {
    const scale = roundScale(factor * size, scaleType);
    for (const sign of [1, -1]) consider(sign * scale);
  }
  for (let round = 0; round < ROUNDS; round++) {
    if (!consider(roundScale(found.wanted, scaleType))) break;
  }
  return best;
}

/** Codes, scales and code book on the host, by row and column; `store` puts the first two back. */
async function onHost(backend: Backend, { codes, scales, codebook }: PairTensors, size: number) {
  const held = {
    codes: (await backend.read(codes)) as Uint8Array,
    scales: (await backend.read(scales)) as Float32Array,
    book: (await backend.read(codebook)) as Float32Array,
  };
  const groups = colsOf(scales);
  const pairs = colsOf(codes);
  return {
    ...held,
    codeAt: (row: number, col: number) => row * pairs + col / PAIR,
    scaleAt: (row: number, col: number) => row * groups + Math.floor(col / size),
    store() {
      backend.write(codes, held.codes);
      backend.write(scales, held.scales);
    },
  };
}

/** out [R, C] = the values of pairs. */
export async function fromPairs(
  backend: Backend,
  grid: PairTensors,
  out: Tensor,
  { groupSize }: Pick<PairOptions, "groupSize">,
): Promise<void> {
  const cols = colsOf(out);
  const { codes, scales, book, codeAt, scaleAt } = await onHost(backend, grid, groupSize);
  const values = new Float32Array(out.size);
  for (let row = 0; row < rowsOf(out); row++) {
    for (let col = 0; col < cols; col++) {
      const place = col % PAIR;
      const entry = book[PAIR * codes[codeAt(row, col - place)] + place];
      values[row * cols + col] = entry * scales[scaleAt(row, col)];
    }
  }
  backend.write(out, values);
}

/**
 * Puts a matrix in pairs: the scale of each group with the least error, and the nearest pairs.
 *
 * @param w [R, C]
 * @param omega [C], what an error in each column weighs
 * @param grid codes and scales are written
 */
export async function fitPairs(
  backend: Backend,
  w: Tensor,
  omega: Tensor,
  grid: PairTensors,
  options: PairOptions,
): Promise<void> {
  const [rows, cols] = [rowsOf(w), colsOf(w)];
  const { groupSize, signal } = options;
  const host = await onHost(backend, grid, groupSize);
  const values = (await backend.read(w)) as Float32Array;
  const weights = (await backend.read(omega)) as Float32Array;
  const metrics = Array.from({ length: cols / PAIR }, (_, i): Metric => {
    return { xx: weights[PAIR * i], xy: 0, yy: weights[PAIR * i + 1] };
  });
  const rest = pacer(signal);
  for (let row = 0; row < rows; row++) {
    await rest();
    for (let first = 0; first < cols; first += groupSize) {
      const end = Math.min(cols, first + groupSize);
      const x = Float64Array.from(values.subarray(row * cols + first, row * cols + end));
      const own = metrics.slice(first / PAIR, end / PAIR);
      const scale = fitScale(host.book, x, own, options);
      host.scales[host.scaleAt(row, first)] = scale;
      for (const [i, metric] of own.entries()) {
        const code = nearestPair(host.book, scale, x[PAIR * i], x[PAIR * i + 1], metric);
        host.codes[host.codeAt(row, first + PAIR * i)] = code;
      }
    }
  }
  host.store();
}

/** Columns from `start` on, of which a row is worked at, and a square matrix of theirs. */
interface Block {
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
async function sweepBlocks(
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

/**
 * One pass of coordinate descent in place, as `refineGrid`'s: pair by pair each code becomes the one that makes
 * f = trace(D H Dᵀ) least, all else staying, D being a matrix less that of the pairs. After the pairs of a group
 * its scale does, rounded; not where a group has more than 128 columns. f never rises.
 *
 * @param gradient D H [R, C] at the start
 * @param h H [C, C], symmetric
 * @param grid codes and scales change
 * @returns what f falls by
 */
export async function refinePairs(
  backend: Backend,
  gradient: Tensor,
  h: Tensor,
  grid: PairTensors,
  options: PairOptions,
): Promise<number> {
  const cols = colsOf(gradient);
  const { groupSize, scaleType } = options;
  const host = await onHost(backend, grid, groupSize);
  const { book } = host;
  const matrix = (await backend.read(gradient)) as Float32Array;
  let fall = 0;
  await sweepBlocks(backend, matrix, h, options, (row, { start, width, lines }, changes) => {
    const g = Float64Array.from(matrix.subarray(row * cols + start, row * cols + start + width));
    const move = (i: number, by: number) => {
      changes[i] += by;
      const line = i * cols + start;
      for (let k = 0; k < width; k++) g[k] -= by * lines[line + k];
    };
    for (let i = 0; i < width; i += PAIR) {
      const col = start + i;
      const at = host.codeAt(row, col);
      const scale = host.scales[host.scaleAt(row, col)];
      const corner = i * cols + start + i;
      const xx = lines[corner];
      const xy = lines[corner + 1];
      const yy = lines[corner + cols + 1];
      const before = PAIR * host.codes[at];
      let best = before;
      let most = 0;
      for (let entry = 0; entry < book.length; entry += PAIR) {
        const dx = scale * (book[entry] - book[before]);
        const dy = scale * (book[entry + 1] - book[before + 1]);
        const gained =
          2 * (dx * g[i] + dy * g[i + 1]) - (xx * dx + 2 * xy * dy) * dx - yy * dy * dy;
        if (!(gained > most)) continue;
        most = gained;
        best = entry;
      }
      if (best !== before) {
        fall += most;
        host.codes[at] = best / PAIR;
        move(i, scale * (book[best] - book[before]));
        move(i + 1, scale * (book[best + 1] - book[before + 1]));
      }
      const end = i + PAIR;
      const isEnd = (col + PAIR) % groupSize === 0 || col + PAIR === cols;
      if (!isEnd || Math.min(groupSize, cols) > LARGEST_REFINED) continue;
      const first = end - (((col + PAIR - 1) % groupSize) + 1);
      const levels = new Float64Array(end - first);
      for (let k = 0; k < levels.length; k += PAIR) {
        const entry = PAIR * host.codes[host.codeAt(row, start + first + k)];
        for (let place = 0; place < PAIR; place++) levels[k + place] = book[entry + place];
      }
      let linear = 0;
      let square = 0;
      for (let k = 0; k < levels.length; k++) {
        linear += levels[k] * g[first + k];
        const line = (first + k) * cols + start + first;
        let sum = 0;
        for (let l = 0; l < levels.length; l++) sum += levels[l] * lines[line + l];
        square += levels[k] * sum;
      }
      if (!(square > 0)) continue;
      const rounded = roundScale(scale + linear / square, scaleType);
      const step = rounded - scale;
      const gained = 2 * step * linear - step * step * square;
      if (!(gained > 0)) continue;
      fall += gained;
      host.scales[host.scaleAt(row, col)] = rounded;
      for (const [k, level] of levels.entries()) move(first + k, level * step);
    }
  });
  host.store();
  return fall;
}
