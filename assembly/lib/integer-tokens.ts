// Tokens rounded to int8, as the products of lib/integer-panel.ts read them. For each run of 32 columns there
// is a header of 16 bytes, the run's scale (f32) and minus the sum of its activations (i32). Then, in one of these
// orders:
//
//   BYTES    i8 [32]
//   WHOLE    i16 [32]
//   TURNED   i16 [32], every quad in the order 0, 2, 1, 3
//
// Columns beyond the last are 0. The arithmetic is that of src/forms/integer.ts.

import { RUN_COLUMNS, TOKEN_HEADER } from "./integer-run";

export const BYTES: i32 = 0;
const WHOLE: i32 = 1;
const TURNED: i32 = 2;

/** The order that products with codes of `bits` read. */
export function tokenOrder(bits: i32): i32 {
  if (bits == 8) return WHOLE;
  return ASC_FEATURE_RELAXED_SIMD ? BYTES : TURNED;
}

/** Bytes of a run of a token. */
export function tokenRunBytes(order: i32): usize {
  return TOKEN_HEADER + (order == BYTES ? 32 : 64);
}

/** Four activations over their scale, as whole numbers. */
// @ts-ignore: decorator
@inline
function four(x: usize, scale: v128): v128 {
  return i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.div(v128.load(x), scale)));
}

/** Eight of them in 16 bits, within int8. */
// @ts-ignore: decorator
@inline
function eight(x: usize, scale: v128): v128 {
  const wide = i16x8.narrow_i32x4_s(four(x, scale), four(x + 16, scale));
  return i16x8.max_s(i16x8.min_s(wide, i16x8.splat(127)), i16x8.splat(-128));
}

/** A run x [32], at `to`. */
function roundRun(order: i32, x: usize, to: usize): void {
  let most = f32x4.abs(v128.load(x));
  for (let i = 16; i < 128; i += 16) most = f32x4.max(most, f32x4.abs(v128.load(x + i)));
  most = f32x4.max(most, v128.shuffle<i32>(most, most, 2, 3, 0, 1));
  most = f32x4.max(most, v128.shuffle<i32>(most, most, 1, 0, 3, 2));
  const scale = f32x4.div(most, f32x4.splat(127));
  store<f32>(to, f32x4.extract_lane(scale, 0));
  // Not 0 / 0 where all are 0: those become infinities, whose numbers the mask takes away.
  const some = f32x4.gt(scale, f32x4.splat(0));
  let sums = i32x4.splat(0);
  let at = to + TOKEN_HEADER;
  for (let i = 0; i < 2; i++) {
    let a = v128.and(eight(x, scale), some);
    let b = v128.and(eight(x + 32, scale), some);
    sums = i32x4.add(sums, i32x4.extadd_pairwise_i16x8_s(i16x8.add(a, b)));
    if (order == BYTES) {
      v128.store(at, i8x16.narrow_i16x8_s(a, b));
      at += 16;
    } else {
      if (order == TURNED) {
        a = v128.shuffle<i16>(a, a, 0, 2, 1, 3, 4, 6, 5, 7);
        b = v128.shuffle<i16>(b, b, 0, 2, 1, 3, 4, 6, 5, 7);
      }
      v128.store(at, a);
      v128.store(at, b, 16);
      at += 32;
    }
    x += 64;
  }
  sums = i32x4.add(sums, v128.shuffle<i32>(sums, sums, 2, 3, 0, 1));
  sums = i32x4.add(sums, v128.shuffle<i32>(sums, sums, 1, 0, 3, 2));
  store<i32>(to, -i32x4.extract_lane(sums, 0), 4);
}

/**
 * Rounds x [cols].
 *
 * @param scratch 128 bytes
 */
export function roundToken(order: i32, x: usize, cols: i32, to: usize, scratch: usize): void {
  const step = tokenRunBytes(order);
  for (; cols >= RUN_COLUMNS; cols -= RUN_COLUMNS) {
    roundRun(order, x, to);
    x += 128;
    to += step;
  }
  if (cols == 0) return;
  memory.fill(scratch, 0, 128);
  memory.copy(scratch, x, <usize>cols << 2);
  roundRun(order, scratch, to);
}
