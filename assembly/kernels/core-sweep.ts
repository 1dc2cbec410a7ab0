// One pass of block coordinate descent over a 2:4 core S [rows, cols] between block-diagonal factors.
// f(S) is a constant + 2 <D, dS> + the sum over blocks p of trace(G_p dS_p H dS_p'), where dS_p are the
// rows of a block of A, G_p = A_p' A_p and H = B H0 B'. Every group of 4 in turn gets the two places and
// values that lower f most, while all others stay.
//
// Blocks of rows do not meet in f. Within one, the columns of a tile are finished before the trailing
// ones are updated: D += E H with E = G dS [rows, width], one matrix product a tile.

import { solveGroup, SUPPORT_SCRATCH } from "../lib/core-group";
import { madd } from "../lib/simd";

/** Bytes of scratch for `coreSweepTile`. */
export function coreSweepScratch(a: i32): usize {
  return SUPPORT_SCRATCH + (<usize>a << 4);
}

/**
 * Sweeps the columns of one tile for all rows.
 *
 * @param a size of A's blocks; divides rows
 * @param cols columns of core, mask, d and h
 * @param start first column of the tile
 * @param width columns of the tile, a multiple of 4
 * @param backwards from the last group of the tile to its first
 * @param core f32 [rows, cols]; changed in place, as is mask u8
 * @param d f32 [rows, cols]: half of df/dS, current for the tile's columns
 * @param gram f32 [rows / a, a, a]
 * @param h f32 [cols, cols]
 * @param errors f32 [rows, width], written: G dS
 * @returns what f falls by
 */
export function coreSweepTile(
  rows: i32,
  a: i32,
  cols: i32,
  start: i32,
  width: i32,
  backwards: bool,
  core: usize,
  mask: usize,
  d: usize,
  gram: usize,
  h: usize,
  errors: usize,
  scratch: usize,
): f64 {
  memory.fill(errors, 0, <usize>rows * <usize>(width << 2));
  let gain: f64 = 0;
  for (let row = 0; row < rows; row += a) {
    for (let step = 0; step < width; step += 4) {
      const at = backwards ? width - 4 - step : step;
      const first = row * cols + start + at;
      const corner = h + (<usize>((start + at) * cols + start + at) << 2);
      const fall = sweepGroup(
        a,
        cols,
        core + (<usize>first << 2),
        mask + <usize>first,
        d + (<usize>first << 2),
        gram + (<usize>(row * a) << 2),
        corner,
        scratch,
      );
      if (fall == 0) continue;
      gain += fall;
      // The groups of the tile that are still to come.
      const left = backwards ? 0 : at + 4;
      const count = backwards ? at : width - left;
      const error = errors + (<usize>(row * width + at) << 2);
      spread(
        a,
        cols,
        width,
        count,
        gram + (<usize>(row * a) << 2),
        scratch + SUPPORT_SCRATCH,
        error,
        h + (<usize>((start + at) * cols + start + left) << 2),
        d + (<usize>(row * cols + start + left) << 2),
      );
    }
  }
  return gain;
}

/** One group of every row of a block of A; leaves the changes f32 [a, 4] behind the solver's scratch. */
function sweepGroup(
  a: i32,
  cols: i32,
  core: usize,
  mask: usize,
  d: usize,
  gram: usize,
  corner: usize,
  scratch: usize,
): f64 {
  const ld = <usize>cols << 2;
  const h0 = v128.load(corner);
  const h1 = v128.load(corner + ld);
  const h2 = v128.load(corner + 2 * ld);
  const h3 = v128.load(corner + 3 * ld);
  let change = scratch + SUPPORT_SCRATCH;
  let gain: f64 = 0;
  for (let k = 0; k < a; k++) {
    const norm = <f64>load<f32>(gram + (<usize>(k * (a + 1)) << 2));
    const at = <usize>k * ld;
    const fall = solveGroup(core + at, mask + <usize>(k * cols), d + at, norm, corner, ld, change, scratch);
    if (fall > 0) {
      gain += fall;
      let move = f32x4.mul(v128.load32_splat(change), h0);
      move = madd(v128.load32_splat(change, 4), h1, move);
      move = madd(v128.load32_splat(change, 8), h2, move);
      move = madd(v128.load32_splat(change, 12), h3, move);
      // The rows of this block still to come; those before are done with the group.
      for (let j = k + 1; j < a; j++) {
        const row = d + <usize>j * ld;
        const factor = v128.load32_splat(gram + (<usize>(j * a + k) << 2));
        v128.store(row, madd(factor, move, v128.load(row)));
      }
    }
    change += 16;
  }
  return gain;
}

/** errors [a, 4] = G changes [a, 4], and d [a, count] += errors times 4 rows of h. */
function spread(
  a: i32,
  cols: i32,
  width: i32,
  count: i32,
  gram: usize,
  changes: usize,
  errors: usize,
  h: usize,
  d: usize,
): void {
  const ld = <usize>cols << 2;
  for (let j = 0; j < a; j++) {
    let sum = f32x4.splat(0);
    for (let k = 0; k < a; k++) {
      sum = madd(v128.load32_splat(gram + (<usize>k << 2)), v128.load(changes + (<usize>k << 4)), sum);
    }
    gram += <usize>a << 2;
    v128.store(errors, sum);
    errors += <usize>width << 2;
    const e0 = v128.shuffle<f32>(sum, sum, 0, 0, 0, 0);
    const e1 = v128.shuffle<f32>(sum, sum, 1, 1, 1, 1);
    const e2 = v128.shuffle<f32>(sum, sum, 2, 2, 2, 2);
    const e3 = v128.shuffle<f32>(sum, sum, 3, 3, 3, 3);
    for (let i: usize = 0; i < <usize>count << 2; i += 16) {
      let value = v128.load(d + i);
      value = madd(e0, v128.load(h + i), value);
      value = madd(e1, v128.load(h + ld + i), value);
      value = madd(e2, v128.load(h + 2 * ld + i), value);
      value = madd(e3, v128.load(h + 3 * ld + i), value);
      v128.store(d + i, value);
    }
    d += ld;
  }
}
