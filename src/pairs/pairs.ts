/** Matrices in pairs of a code book (forms/pairs.ts), while they are being made: what they are, and their values. */
import type { Backend } from "../backend.js";
import type { GridOptions } from "../backends/operations/fit-scales.js";
import { PAIR } from "../forms/pairs.js";
import { colsOf, rowsOf, type Tensor } from "../tensor.js";

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
export interface Metric {
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

/** Codes, scales and code book on the host, by row and column; `store` puts the first two back. */
export async function onHost(
  backend: Backend,
  { codes, scales, codebook }: PairTensors,
  size: number,
) {
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
