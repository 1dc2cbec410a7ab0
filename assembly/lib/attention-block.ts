// Attention of many queries, a block of them at a time. The block's scores with all keys that one of its
// queries sees are a matrix product with the keys, which are packed once. The mixed values are another.

import { expNegative } from "./exp";
import { packRows } from "./pack";
import { sumLanes } from "./simd";
import { PANEL_COLS, panelProduct, tileProduct } from "./tile";

/** Queries of one head that go together; a multiple of 4. */
const BLOCK: i32 = 32;

/** Added to rows of scores, so that as many of them as a cache has sets do not share one. */
const GAP: i32 = 16;

// @ts-ignore: decorator
@inline
function floats(count: i32): usize {
  return <usize>count << 2;
}

/** A number with those added that fill a panel. */
// @ts-ignore: decorator
@inline
function filled(count: i32): i32 {
  return (count + PANEL_COLS - 1) / PANEL_COLS * PANEL_COLS;
}

/** Bytes of packed keys. */
export function packedKeysBytes(count: i32, dim: i32): usize {
  return floats(filled(count) * dim);
}

/** Bytes of scratch for `attendBlocks` over `count` keys. */
export function blockScratch(count: i32, dim: i32): usize {
  return floats(BLOCK * (filled(count) + GAP + 2 * dim));
}

/** Packs k [count, dim] as `panelProduct` reads it. Rows of k are `stride` bytes apart. */
export function packKeys(k: usize, stride: usize, count: i32, dim: i32, keys: usize): void {
  packRows(k, stride, count, dim, PANEL_COLS, 1, keys);
}

/**
 * Queries of one head against all keys, BLOCK at a time.
 *
 * @param q first query's row of the head; rows of q and out are `step` bytes apart
 * @param keys as `packKeys` packs them
 * @param v values [count, dim], rows `stride` bytes apart
 * @param queries the last of them stands at key count - 1
 * @param dim a multiple of 4
 * @param work blockScratch(count, dim) bytes
 */
export function attendBlocks(
  q: usize,
  step: usize,
  keys: usize,
  v: usize,
  stride: usize,
  out: usize,
  queries: i32,
  count: i32,
  dim: i32,
  window: i32,
  scale: f32,
  work: usize,
): void {
  const row = floats(dim);
  const scaled = work + floats(BLOCK * (filled(count) + GAP));
  const mixed = scaled + floats(BLOCK * dim);
  for (let t = 0; t < queries; t += BLOCK) {
    const rows = min(BLOCK, queries - t);
    const tall = (rows + 3) & ~3;
    const position = count - queries + t;
    const first = max(0, position + 1 - window) / PANEL_COLS * PANEL_COLS;
    const end = position + rows;
    const cols = ((end - first) + 3) & ~3;
    const ld = floats(cols + GAP);
    copyScaled(q + <usize>t * step, step, rows, tall, dim, scale, scaled);
    panelProduct(tall, cols, dim, scaled, row, keys + floats(first * dim), work, ld);
    for (let r = 0; r < tall; r++) {
      const last = min(position + r + 1, end);
      const start = max(0, last - window) - first;
      weigh(work + <usize>r * ld, start, last - first, cols, scaled + floats(r));
    }
    const values = v + <usize>first * stride;
    tileProduct(tall, dim, end - first, work, ld, 4, values, stride, 0, mixed, row);
    for (let r = 0; r < rows; r++) {
      const to = out + <usize>(t + r) * step;
      const inverse = v128.load32_splat(scaled + floats(r));
      for (let i: usize = 0; i < row; i += 16) {
        v128.store(to + i, f32x4.mul(inverse, v128.load(mixed + <usize>r * row + i)));
      }
    }
  }
}

/** out [tall, dim] = scale * q [rows, dim], then zeros. */
function copyScaled(
  q: usize,
  step: usize,
  rows: i32,
  tall: i32,
  dim: i32,
  scale: f32,
  out: usize,
): void {
  const factor = f32x4.splat(scale);
  const row = floats(dim);
  for (let r = 0; r < rows; r++) {
    for (let i: usize = 0; i < row; i += 16) {
      v128.store(out + i, f32x4.mul(factor, v128.load(q + i)));
    }
    q += step;
    out += row;
  }
  memory.fill(out, 0, <usize>(tall - rows) * row);
}

/**
 * x [cols] = exp(x - largest) from `start` to `end`, which is at least one element, and 0 elsewhere.
 *
 * @param inverse where 1 / their sum goes
 */
function weigh(x: usize, start: i32, end: i32, cols: i32, inverse: usize): void {
  memory.fill(x, 0, floats(start));
  memory.fill(x + floats(end), 0, floats(cols - end));
  x += floats(start);
  let count = end - start;
  let most = v128.load32_splat(x);
  let at = x;
  for (; count >= 4; count -= 4) {
    most = f32x4.pmax(most, v128.load(at));
    at += 16;
  }
  most = f32x4.max(most, v128.shuffle<f32>(most, most, 2, 3, 0, 1));
  most = f32x4.max(most, v128.shuffle<f32>(most, most, 1, 0, 3, 2));
  for (; count > 0; count--) {
    most = f32x4.max(most, v128.load32_splat(at));
    at += 4;
  }
  let sums = f32x4.splat(0);
  for (count = end - start; count >= 4; count -= 4) {
    const terms = expNegative(f32x4.sub(v128.load(x), most));
    v128.store(x, terms);
    sums = f32x4.add(sums, terms);
    x += 16;
  }
  let sum = sumLanes(sums);
  for (; count > 0; count--) {
    const term = expNegative(f32x4.sub(v128.load32_splat(x), most));
    v128.store_lane<f32>(x, term, 0);
    sum += f32x4.extract_lane(term, 0);
    x += 4;
  }
  store<f32>(inverse, 1 / sum);
}
