// The column sweep over one block of columns (SparseGPT, arXiv 2301.00774). The columns after the
// block are updated by its caller, in one matrix product with the errors [rows, width].
//
// Within a block a row is finished before the next begins: its weights and the block of u stay in
// the first-level cache. Every removed weight takes e * u[i, i+1:] off the rest of its row in the
// block.

import {
  LANE_MASKS,
  removedBits,
  subtractTwo,
  subtractWithin,
  writeMasks,
} from "../lib/removed-weights";
import { dropBits, dropBitsOfFour } from "../lib/select";
import { subtractScaled } from "../lib/simd";

/** Weights of a group, at most: the room that scores of a group take in scratch. */
const GROUP: i32 = 16;

/** Bytes of scratch for `columnSweepScores` and `columnSweepBlock` on a block of `width` columns. */
export function columnSweepScratch(width: i32): usize {
  return <usize>(width + GROUP + LANE_MASKS) << 2;
}

function readDiagonal(width: i32, u: usize, ldu: usize, diagonal: usize): void {
  for (let i = 0; i < width; i++) {
    store<f32>(diagonal, load<f32>(u));
    diagonal += 4;
    u += ldu + 4;
  }
}

/**
 * scores [rows, width] = (w / u[i][i])² for a block of columns of w.
 *
 * @param u the block's first diagonal element
 * @param cols columns of w and of u
 */
export function columnSweepScores(
  rows: i32,
  width: i32,
  cols: i32,
  w: usize,
  u: usize,
  scores: usize,
  scratch: usize,
): void {
  const ld = <usize>cols << 2;
  readDiagonal(width, u, ld, scratch);
  for (let r = 0; r < rows; r++) {
    score(width, w, scratch, scores);
    w += ld;
    scores += <usize>width << 2;
  }
}

// @ts-ignore: decorator
@inline
function score(n: i32, w: usize, diagonal: usize, scores: usize): void {
  for (; n >= 4; n -= 4) {
    const ratio = f32x4.div(v128.load(w), v128.load(diagonal));
    v128.store(scores, f32x4.mul(ratio, ratio));
    w += 16;
    diagonal += 16;
    scores += 16;
  }
  for (; n > 0; n--) {
    const ratio = load<f32>(w) / load<f32>(diagonal);
    store<f32>(scores, ratio * ratio);
    w += 4;
    diagonal += 4;
    scores += 4;
  }
}

/**
 * Prunes and updates the columns of one block, in place.
 *
 * @param m 0 to take mask as given, else the group size: mask is chosen as the sweep goes
 * @param drop weights to remove of every m
 * @param w the block's first column of row 0; mask likewise, u the block's first diagonal element
 * @param cols columns of w, mask and u
 * @param errors f32 [rows, width], written: e of the removed weights, 0 of the kept
 * @returns the sum of e²/2
 */
export function columnSweepBlock(
  rows: i32,
  width: i32,
  cols: i32,
  m: i32,
  drop: i32,
  w: usize,
  u: usize,
  mask: usize,
  errors: usize,
  scratch: usize,
): f64 {
  const ld = <usize>cols << 2;
  const group = scratch + (<usize>width << 2);
  const masks = group + <usize>(GROUP << 2);
  writeMasks(masks);
  readDiagonal(width, u, ld, scratch);
  memory.fill(errors, 0, <usize>rows * <usize>(width << 2));
  let loss: f64 = 0;
  // Where groups start at multiples of four, the rest of the row waits until four columns are done. Then
  // what they take off it is taken off for two columns at a time.
  const step = (m & 3) == 0 ? 4 : 1;
  for (let r = 0; r < rows; r++) {
    let next = m > 0 ? 0 : width;
    for (let i = 0; i < width; i += step) {
      if (i == next) {
        const at = <usize>i << 2;
        choose(m, drop, w + at, scratch + at, group, mask + <usize>i);
        next += m;
      }
      const end = min(width, i + step);
      const rest = w + (<usize>end << 2);
      let first: f32 = 0;
      let firstRow: usize = 0;
      let removed = removedBits(mask + <usize>i, end - i);
      while (removed) {
        const lane = ctz(removed);
        removed &= removed - 1;
        const at = <usize>(i + lane) << 2;
        const error = load<f32>(w + at) / load<f32>(scratch + at);
        store<f32>(errors + at, error);
        loss += <f64>error * <f64>error;
        const row = u + <usize>(i + lane) * ld;
        subtractWithin(error, end - i, lane, row + (<usize>i << 2), w + (<usize>i << 2), masks);
        store<f32>(w + at, 0);
        const restRow = row + (<usize>end << 2);
        if (firstRow) {
          subtractTwo(width - end, first, firstRow, error, restRow, rest);
          firstRow = 0;
        } else {
          first = error;
          firstRow = restRow;
        }
      }
      if (firstRow) subtractScaled(width - end, first, firstRow, rest);
    }
    w += ld;
    mask += <usize>cols;
    errors += <usize>width << 2;
  }
  return loss / 2;
}

/** mask [m] for one group, by its current weights. */
// @ts-ignore: decorator
@inline
function choose(m: i32, drop: i32, w: usize, diagonal: usize, group: usize, mask: usize): void {
  score(m, w, diagonal, group);
  const bits = m == 4 ? dropBitsOfFour(v128.load(group), drop) : dropBits(group, m, drop);
  // Read back as one word: four stores of a byte would have to reach the cache first.
  if (m == 4) store<u32>(mask, (<u32>(bits ^ 15) * 0x00204081) & 0x01010101);
  else for (let i = 0; i < m; i++) store<u8>(mask + <usize>i, ((bits >> i) & 1) ^ 1);
}
