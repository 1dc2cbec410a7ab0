// The inner loop of every matrix product here: a tile of C stays in registers while one panel of A
// and one of B are read once, front to back. The loops are generated (dense-tiles.mjs).
//
// Panels are depth-major: A's holds MR consecutive floats for each k, B's holds NR. Which shape is
// fastest depends on how an engine compiles the loop, so TypeScript measures (tune.ts) and sets one.
// Every shape adds the same products in the same order: results do not depend on it.

import {
  fiveByEight,
  fourByEight,
  sixByEight,
  threeByTwelve,
} from "../../build/generated/dense-tiles";

/** The shapes, by their number in src/backends/wasm/tune.ts; the last, 3, is 5x8 wide. */
const FOUR_BY_EIGHT: i32 = 0;
const SPLAT: i32 = 1;
const WIDE_THREE: i32 = 2;

/** The largest MR and NR; every NR divides DIVISIBLE. */
export const MAX_MR: i32 = 6;
export const MAX_NR: i32 = 12;
export const DIVISIBLE: i32 = 24;

let shape: i32 = FOUR_BY_EIGHT;
/** Rows of a tile, and floats per k in a panel of A. */
export let MR: i32 = 4;
/** Columns of a tile, and floats per k in a panel of B. */
export let NR: i32 = 8;

/** Sets the shape, 0 <= index <= 3, of this instance's products from here on. */
export function useShape(index: i32): void {
  shape = index;
  MR = index == FOUR_BY_EIGHT ? 4 : index == SPLAT ? 6 : index == WIDE_THREE ? 3 : 5;
  NR = index == WIDE_THREE ? 12 : 8;
}

/** Whether the engine moves loads to the top of a loop (V8 before 13): there 4x8 is the fastest. */
export function movesLoads(): bool {
  return shape == FOUR_BY_EIGHT;
}

/**
 * c [MR, NR] = A panel * B panel over `depth` >= 1 steps, added to c unless `overwrite`.
 *
 * @param ldc bytes between rows of c
 */
export function microKernel(
  depth: i32,
  a: usize,
  b: usize,
  c: usize,
  ldc: usize,
  overwrite: bool,
): void {
  if (shape == FOUR_BY_EIGHT) fourByEight(depth, a, b, c, ldc, overwrite);
  else if (shape == SPLAT) sixByEight(depth, a, b, c, ldc, overwrite);
  else if (shape == WIDE_THREE) threeByTwelve(depth, a, b, c, ldc, overwrite);
  else fiveByEight(depth, a, b, c, ldc, overwrite);
}
