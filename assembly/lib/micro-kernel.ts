// The inner loop of every matrix product here: a tile of C stays in registers while one panel of A
// and one of B are read once, front to back.
//
// Panels are depth-major: A's holds MR consecutive floats for each k, B's holds NR. Which shape is
// fastest depends on how an engine compiles the loop, so TypeScript measures (tune.ts) and sets one.
// Every shape adds the same products in the same order: results do not depend on it.

import { sixByEightSplat } from "./micro-splat";
import { threeByTwelveWide } from "./micro-wide-3x12";
import { fiveByEightWide } from "./micro-wide-5x8";
import { madd } from "./simd";
import { storePair } from "./tile-row";

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
  else if (shape == SPLAT) sixByEightSplat(depth, a, b, c, ldc, overwrite);
  else if (shape == WIDE_THREE) threeByTwelveWide(depth, a, b, c, ldc, overwrite);
  else fiveByEightWide(depth, a, b, c, ldc, overwrite);
}

/**
 * Four rows and two vectors of columns are what the 16 registers of x86-64 can hold when an engine
 * (V8 before 13) hoists all loads of an iteration to its top.
 */
function fourByEight(
  depth: i32,
  a: usize,
  b: usize,
  c: usize,
  ldc: usize,
  overwrite: bool,
): void {
  let c00 = f32x4.splat(0);
  let c01 = f32x4.splat(0);
  let c10 = f32x4.splat(0);
  let c11 = f32x4.splat(0);
  let c20 = f32x4.splat(0);
  let c21 = f32x4.splat(0);
  let c30 = f32x4.splat(0);
  let c31 = f32x4.splat(0);
  const end = a + <usize>(depth << 4);
  do {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    let row = v128.load32_splat(a);
    c00 = madd(row, b0, c00);
    c01 = madd(row, b1, c01);
    row = v128.load32_splat(a, 4);
    c10 = madd(row, b0, c10);
    c11 = madd(row, b1, c11);
    row = v128.load32_splat(a, 8);
    c20 = madd(row, b0, c20);
    c21 = madd(row, b1, c21);
    row = v128.load32_splat(a, 12);
    c30 = madd(row, b0, c30);
    c31 = madd(row, b1, c31);
    a += 16;
    b += 32;
  } while (a != end);
  storePair(c, overwrite, c00, c01);
  storePair(c + ldc, overwrite, c10, c11);
  storePair(c + 2 * ldc, overwrite, c20, c21);
  storePair(c + 3 * ldc, overwrite, c30, c31);
}
