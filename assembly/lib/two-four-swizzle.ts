// What 2:4 products for few tokens share. Four activations of a token are one vector; swizzling it
// by the shuffle of a code byte (a table of 256) lines it up with the four values of a pair of
// rows, so that one multiply-add does eight columns' worth of a dense product. The prepared form is
// described in kernels/two-four.ts.

import { madd } from "./simd";

/**
 * Address of the table, 16 bytes for each code byte: above the static data, which a thread writes anew when
 * it starts, and below all tensors (src/backends/wasm.ts).
 */
export const SHUFFLES: usize = 0x80000;

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

/** The activations of one group in the order of a pair's values. */
// @ts-ignore: decorator
@inline
export function select(x: v128, code: usize): v128 {
  return swizzle(x, v128.load(code << 4, SHUFFLES));
}

/** The sums of two pairs' rows: lanes 0 and 1 belong to the first row of a pair, 2 and 3 to the second. */
// @ts-ignore: decorator
@inline
export function fourRows(a: v128, b: v128): v128 {
  return f32x4.add(v128.shuffle<f32>(a, b, 0, 2, 4, 6), v128.shuffle<f32>(a, b, 1, 3, 5, 7));
}

/** Two rows of one token, or one. */
export function onePair(
  x: usize,
  pair: usize,
  codes: usize,
  groups: i32,
  out: usize,
  bias: usize,
  both: bool,
): void {
  let sums = f32x4.splat(0);
  for (; groups > 0; groups--) {
    sums = madd(v128.load(pair), select(v128.load(x), load<u8>(codes)), sums);
    x += 16;
    pair += 16;
    codes++;
  }
  sums = fourRows(sums, sums);
  const first = f32x4.extract_lane(sums, 0);
  store<f32>(out, bias ? first + load<f32>(bias) : first);
  if (!both) return;
  const second = f32x4.extract_lane(sums, 1);
  store<f32>(out, bias ? second + load<f32>(bias, 4) : second, 4);
}
