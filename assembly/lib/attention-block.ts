// Attention of many queries of one head. Their scores are a product of the keys and, as columns, a panel of
// queries. With exp applied they are a panel themselves, which the values' product reads as it lies. So both
// products are those of the micro-kernel, and softmax goes down the panel, a query in each lane.

import { weighColumns } from "./attention-weights";
import { storeColumns } from "./four-rows";
import { MAX_MR, MAX_NR, microKernel, MR, NR } from "./micro-kernel";
import { packRows, panelBytes } from "./pack";
import { packColumns } from "./pack-columns";

// @ts-ignore: decorator
@inline
function floats(count: i32): usize {
  return <usize>count << 2;
}

/** Bytes of the keys and the values of one head as panels. */
export function packedHeadBytes(count: i32, dim: i32): usize {
  return panelBytes(count, dim) + panelBytes(dim, count);
}

/** Bytes of scratch for `attendBlocks` over `count` keys. */
export function blockScratch(count: i32, dim: i32): usize {
  const columns = dim + (count + 2 * MAX_MR) + (dim + MAX_MR) + 1;
  return floats(MAX_NR * columns);
}

/**
 * Packs keys and values [count, dim] as `attendBlocks` reads them.
 *
 * @param stride bytes between rows of k, and of v
 * @param panels packedHeadBytes(count, dim) bytes
 */
export function packHead(
  k: usize,
  v: usize,
  stride: usize,
  count: i32,
  dim: i32,
  panels: usize,
): void {
  packKeys(k, stride, count, dim, panels);
  packValues(v, stride, count, dim, panels);
}

/** Packs the keys alone. */
export function packKeys(k: usize, stride: usize, count: i32, dim: i32, panels: usize): void {
  packRows(k, stride, count, dim, MR, 1, panels);
}

/** Packs the values alone. */
export function packValues(v: usize, stride: usize, count: i32, dim: i32, panels: usize): void {
  packColumns(v, stride, count, dim, MR, 1, panels + panelBytes(count, dim));
}

/**
 * Queries of one head against all keys, a panel of queries at a time.
 *
 * @param q first query's row of the head; rows of q and out are `step` bytes apart
 * @param panels keys and values as `packHead` packs them
 * @param queries the last of them stands at key count - 1
 * @param dim a multiple of 4
 * @param work blockScratch(count, dim) bytes
 */
export function attendBlocks(
  q: usize,
  step: usize,
  panels: usize,
  out: usize,
  queries: i32,
  count: i32,
  dim: i32,
  window: i32,
  scale: f32,
  work: usize,
): void {
  const values = panels + panelBytes(count, dim);
  const row = floats(NR);
  const mixed = work + <usize>dim * row;
  const inverse = mixed + <usize>(dim + MAX_MR) * row;
  const weights = inverse + row;
  for (let t = 0; t < queries; t += NR) {
    const rows = min(NR, queries - t);
    const position = count - queries + t;
    const end = position + rows;
    // Whole panels of keys, and whole groups of four.
    const first = max(0, position + 1 - window) / (4 * MR) * (4 * MR);
    packRows(q + <usize>t * step, step, rows, dim, NR, scale, work);
    for (let s = first; s < end; s += MR) {
      const keys = panels + <usize>s * floats(dim);
      microKernel(dim, keys, work, weights + <usize>(s - first) * row, row, true);
    }
    for (let r = 0; r < NR; r += 4) {
      const at = floats(r);
      weighColumns(weights + at, row, end - first, position + r - first, window, inverse + at);
    }
    const from = values + floats(first * MR);
    for (let i = 0; i < dim; i += MR) {
      const panel = from + <usize>i * floats(count);
      microKernel(end - first, panel, weights, mixed + <usize>i * row, row, true);
    }
    storeMixed(mixed, inverse, rows, dim, out + <usize>t * step, step);
  }
}

/** out [rows, dim] = the columns of mixed [dim, NR], each times its number of `inverse`. */
function storeMixed(
  mixed: usize,
  inverse: usize,
  rows: i32,
  dim: i32,
  out: usize,
  step: usize,
): void {
  const row = floats(NR);
  for (let r = 0; r < rows; r += 4) {
    const factor = v128.load(inverse + floats(r));
    let at = mixed + floats(r);
    // Of the last rows a few may be missing: they go where the first of them were read.
    const isWhole = r + 4 <= rows;
    for (let i = 0; i < dim; i += 4) {
      const a = f32x4.mul(factor, v128.load(at));
      const b = f32x4.mul(factor, v128.load(at + row));
      const c = f32x4.mul(factor, v128.load(at + 2 * row));
      const d = f32x4.mul(factor, v128.load(at + 3 * row));
      const to = out + <usize>r * step + floats(i);
      if (isWhole) storeColumns(a, b, c, d, to, step);
      else {
        storeColumns(a, b, c, d, at, row);
        for (let own = 0; own < rows - r; own++) {
          v128.store(to + <usize>own * step, v128.load(at + <usize>own * row));
        }
      }
      at += 4 * row;
    }
  }
}
