// The block-diagonal product with a few tokens, which is bound by reading the blocks once. All rows
// of all blocks lie one after another in memory. They are cut into quarters, and four rows, one of
// each quarter, are multiplied at once. So four memory streams are open: a single one waits at every
// page. The four rows may lie in different blocks, and then read different stretches of x.

import { loadUpTo } from "./lanes";
import { madd, sumLanes, sumLanesOfFour } from "./simd";

/** Bytes of blocks that stay in the first-level cache while one token after another is multiplied. */
const RUN_BYTES: i32 = 16384;

/**
 * out [tokens, cols]: stretch k of each row = blocks[k] [size, size] times that stretch of x.
 *
 * @param cols a multiple of size
 * @param ld bytes between rows of x, and of out
 */
export function streamBlocks(
  tokens: i32,
  cols: i32,
  size: i32,
  ld: usize,
  x: usize,
  blocks: usize,
  out: usize,
): void {
  const width = <usize>size << 2;
  const quarter = cols >> 2;
  const longest = max(1, RUN_BYTES / (size << 4));
  let row = 0;
  while (row < quarter) {
    // Rows until one of the four comes to the end of its block.
    let run = min(longest, quarter - row);
    for (let part = 0; part < 4; part++) run = min(run, size - ((row + part * quarter) % size));
    const x0 = x + stretch(row, size);
    const x1 = x + stretch(row + quarter, size);
    const x2 = x + stretch(row + 2 * quarter, size);
    const x3 = x + stretch(row + 3 * quarter, size);
    const from = blocks + <usize>row * width;
    let to = out + (<usize>row << 2);
    for (let t: usize = 0; t < <usize>tokens; t++) {
      const at = t * ld;
      fourRuns(run, size, quarter, x0 + at, x1 + at, x2 + at, x3 + at, from, to + at);
    }
    row += run;
  }
  for (row = 4 * quarter; row < cols; row++) {
    for (let t: usize = 0; t < <usize>tokens; t++) {
      const sum = dot(size, blocks + <usize>row * width, x + t * ld + stretch(row, size));
      store<f32>(out + t * ld + (<usize>row << 2), sum);
    }
  }
}

/** Bytes before the stretch of x that a row of the blocks is multiplied with. */
function stretch(row: i32, size: i32): usize {
  return <usize>(row - (row % size)) << 2;
}

/** `rows` rows from each of four places `quarter` rows apart, each place with its stretch of x. */
function fourRuns(
  rows: i32,
  size: i32,
  quarter: i32,
  x0: usize,
  x1: usize,
  x2: usize,
  x3: usize,
  m0: usize,
  out: usize,
): void {
  const distance = <usize>quarter << 2;
  const width = <usize>size << 2;
  const whole = width & ~15;
  let m1 = m0 + distance * <usize>size;
  let m2 = m1 + distance * <usize>size;
  let m3 = m2 + distance * <usize>size;
  for (; rows > 0; rows--) {
    let s0 = f32x4.splat(0);
    let s1 = f32x4.splat(0);
    let s2 = f32x4.splat(0);
    let s3 = f32x4.splat(0);
    for (let i: usize = 0; i < whole; i += 16) {
      s0 = madd(v128.load(m0 + i), v128.load(x0 + i), s0);
      s1 = madd(v128.load(m1 + i), v128.load(x1 + i), s1);
      s2 = madd(v128.load(m2 + i), v128.load(x2 + i), s2);
      s3 = madd(v128.load(m3 + i), v128.load(x3 + i), s3);
    }
    if (size & 3) {
      s0 = madd(loadUpTo(m0 + whole, size & 3), loadUpTo(x0 + whole, size & 3), s0);
      s1 = madd(loadUpTo(m1 + whole, size & 3), loadUpTo(x1 + whole, size & 3), s1);
      s2 = madd(loadUpTo(m2 + whole, size & 3), loadUpTo(x2 + whole, size & 3), s2);
      s3 = madd(loadUpTo(m3 + whole, size & 3), loadUpTo(x3 + whole, size & 3), s3);
    }
    const sums = sumLanesOfFour(s0, s1, s2, s3);
    v128.store32_lane(out, sums, 0);
    v128.store32_lane(out + distance, sums, 1);
    v128.store32_lane(out + 2 * distance, sums, 2);
    v128.store32_lane(out + 3 * distance, sums, 3);
    m0 += width;
    m1 += width;
    m2 += width;
    m3 += width;
    out += 4;
  }
}

function dot(n: i32, m: usize, x: usize): f32 {
  let sum = f32x4.splat(0);
  for (; n > 0; n -= 4) {
    sum = madd(loadUpTo(m, n), loadUpTo(x, n), sum);
    m += 16;
    x += 16;
  }
  return sumLanes(sum);
}
