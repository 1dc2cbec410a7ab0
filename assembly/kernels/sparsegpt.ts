// SparseGPT's sweep over one block of columns (arXiv 2301.00774), and the update of all columns
// after it.
//
// Within a block a row is finished before the next begins: its weights and the block of u stay in
// the first-level cache. Every removed weight takes e * u[i, i+1:] off the rest of its row in the
// block; the errors [rows, width] then update the trailing columns in one matrix product.

import { multiply, multiplyScratch } from "../lib/multiply";
import { dropBits, dropBitsOfFour } from "../lib/select";
import { subtractScaled } from "../lib/simd";

/** Weights of a group, at most: the room that scores of a group take in scratch. */
const GROUP: i32 = 16;

/** Bytes of scratch for `sparsegptScores` and `sparsegptBlock` on a block of `width` columns. */
export function sparsegptScratch(width: i32): usize {
  return <usize>(width + GROUP) << 2;
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
export function sparsegptScores(
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
export function sparsegptBlock(
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
  readDiagonal(width, u, ld, scratch);
  memory.fill(errors, 0, <usize>rows * <usize>(width << 2));
  let loss: f64 = 0;
  for (let r = 0; r < rows; r++) {
    let row = u + 4;
    let next = 0;
    for (let i = 0; i < width; i++) {
      const at = w + (<usize>i << 2);
      if (m > 0 && i == next) {
        choose(m, drop, at, scratch + (<usize>i << 2), group, mask + <usize>i);
        next += m;
      }
      if (load<u8>(mask + <usize>i) == 0) {
        const error = load<f32>(at) / load<f32>(scratch + (<usize>i << 2));
        store<f32>(errors + (<usize>i << 2), error);
        loss += <f64>error * <f64>error;
        store<f32>(at, 0);
        subtractScaled(width - i - 1, error, row, at + 4);
      }
      row += ld + 4;
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
  for (let i = 0; i < m; i++) store<u8>(mask + <usize>i, ((bits >> i) & 1) ^ 1);
}

export function sparsegptTrailScratch(rows: i32, width: i32, trailing: i32): usize {
  return multiplyScratch(rows, trailing, width);
}

/** w [rows, trailing] -= errors [rows, width] * u [width, trailing]; rows of w and u cols apart. */
export function sparsegptTrail(
  rows: i32,
  width: i32,
  trailing: i32,
  cols: i32,
  errors: usize,
  u: usize,
  w: usize,
  scratch: usize,
): void {
  const ld = <usize>cols << 2;
  const lde = <usize>width << 2;
  multiply(rows, trailing, width, errors, lde, false, u, ld, false, w, ld, -1, false, scratch);
}
