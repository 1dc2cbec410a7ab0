// x [tokens, cols] times a block-diagonal matrix, plus a bias. For four tokens and more, a block is
// transposed once and multiplied as small tiles, with x read as stored. For fewer tokens, or blocks
// whose size is no multiple of 4, there are dot products with the blocks' rows (lib/block-streams.ts).

import { streamBlocks } from "../lib/block-streams";
import { loadUpTo, storeUpTo } from "../lib/lanes";
import { transposeFourRows } from "../lib/pack";
import { tileProduct } from "../lib/tile";

/** Bytes of scratch for blockDiagonalMultiply: one transposed block where tiles are used. */
export function blockDiagonalScratch(tokens: i32, size: i32): usize {
  return tiledTokens(tokens, size) ? <usize>(size * size) << 2 : 0;
}

/**
 * Columns [first, last) of out [tokens, cols]: stretch k of each row = blocks[k] [size, size] times that
 * stretch of x, plus that stretch of the bias. How columns are cut changes no bit.
 *
 * @param cols a multiple of size
 * @param bias [cols], or 0 for none
 * @param first a multiple of size and of 4
 * @param last likewise, or cols
 * @param scratch blockDiagonalScratch(tokens, size) bytes
 */
export function blockDiagonalMultiply(
  tokens: i32,
  cols: i32,
  size: i32,
  x: usize,
  blocks: usize,
  out: usize,
  bias: usize,
  first: i32,
  last: i32,
  scratch: usize,
): void {
  const ld = <usize>cols << 2;
  const at = <usize>first << 2;
  x += at;
  out += at;
  blocks += <usize>size * at;
  if (bias) bias += at;
  cols = last - first;
  const tiled = tiledTokens(tokens, size);
  if (tiled) multiplyTiles(tiled, cols, size, ld, x, blocks, out, bias, scratch);
  for (let t = tiled; t < tokens; t += 4) {
    const count = min(4, tokens - t);
    const to = out + <usize>t * ld;
    streamBlocks(count, cols, size, ld, x + <usize>t * ld, blocks, to);
    if (bias) addBias(count, cols, bias, to, ld);
  }
}

/** How many of the tokens, counted from the first, are multiplied as tiles. */
// @ts-ignore: decorator
@inline
function tiledTokens(tokens: i32, size: i32): i32 {
  return size & 3 ? 0 : tokens & ~3;
}

function multiplyTiles(
  tokens: i32,
  cols: i32,
  size: i32,
  ld: usize,
  x: usize,
  blocks: usize,
  out: usize,
  bias: usize,
  scratch: usize,
): void {
  const width = <usize>size << 2;
  for (let start = 0; start < cols; start += size) {
    for (let i = 0; i < size; i += 4) {
      transposeFourRows(blocks + <usize>i * width, width, size, 1, scratch + (<usize>i << 2), width);
    }
    tileProduct(tokens, size, size, x, ld, 4, scratch, width, 0, out, ld);
    if (bias) {
      addBias(tokens, size, bias, out, ld);
      bias += width;
    }
    x += width;
    out += width;
    blocks += <usize>size * width;
  }
}

/** out [tokens, cols] += bias [cols], row by row; rows are `ld` bytes apart. */
function addBias(tokens: i32, cols: i32, bias: usize, out: usize, ld: usize): void {
  const whole = <usize>(cols & ~3) << 2;
  const rest = cols & 3;
  for (; tokens > 0; tokens--) {
    for (let at: usize = 0; at < whole; at += 16) {
      v128.store(out + at, f32x4.add(v128.load(out + at), v128.load(bias + at)));
    }
    if (rest) {
      const sum = f32x4.add(loadUpTo(out + whole, rest), loadUpTo(bias + whole, rest));
      storeUpTo(out + whole, sum, rest);
    }
    out += ld;
  }
}
