// What 2:4 products for few tokens share. Four activations of a token are one vector. Swizzling it by the
// shuffle of a code byte (a table of 256) lines it up with the four values of a pair of rows. So one
// multiply-add does the work of two in a dense product. The prepared form is described in
// lib/two-four-form.ts.

import { loadUpTo, storeUpTo } from "./lanes";

/**
 * Address of the table, 16 bytes for each code byte. It lies above the static data, which every thread writes
 * anew when it starts, and below all tensors (src/backends/wasm.ts).
 */
const SHUFFLES: usize = 0x80000;

/** Writes the 256 shuffles; call once. */
export function fillShuffles(): void {
  for (let code = 0; code < 256; code++) {
    for (let lane = 0; lane < 4; lane++) {
      const column: u32 = (code >> (2 * lane)) & 3;
      store<u32>(SHUFFLES + <usize>(code * 16 + lane * 4), 0x03020100 + 0x04040404 * column);
    }
  }
}

// @ts-ignore: decorator
@inline
export function swizzle(x: v128, shuffle: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? i8x16.relaxed_swizzle(x, shuffle) : i8x16.swizzle(x, shuffle);
}

/** The shuffle of a pair's code. */
// @ts-ignore: decorator
@inline
export function shuffleOf(code: u32): v128 {
  return v128.load(<usize>code << 4, SHUFFLES);
}

/** The sums of two pairs' rows: lanes 0 and 1 belong to the first row of a pair, 2 and 3 to the second. */
// @ts-ignore: decorator
@inline
export function fourRows(a: v128, b: v128): v128 {
  return f32x4.add(v128.shuffle<f32>(a, b, 0, 2, 4, 6), v128.shuffle<f32>(a, b, 1, 3, 5, 7));
}

/** Stores the sums of rows `first` to first + 3 of `rows`, times their scales, plus their bias. */
export function storeFourRows(
  sums: v128,
  first: i32,
  rows: i32,
  out: usize,
  bias: usize,
  scales: usize,
): void {
  rows -= first;
  if (rows <= 0) return;
  const at = <usize>first << 2;
  if (scales) sums = f32x4.mul(sums, v128.load(scales + at));
  if (bias) sums = f32x4.add(sums, loadUpTo(bias + at, rows));
  storeUpTo(out + at, sums, rows);
}

/** Stores eight rows, from `first` on, of `rows` in all. */
export function storeEightRows(
  s0: v128,
  s1: v128,
  s2: v128,
  s3: v128,
  first: i32,
  rows: i32,
  out: usize,
  bias: usize,
  scales: usize,
): void {
  storeFourRows(fourRows(s0, s1), first, rows, out, bias, scales);
  storeFourRows(fourRows(s2, s3), first + 4, rows, out, bias, scales);
}
