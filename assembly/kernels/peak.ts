// The rate that no kernel can beat: multiplies and adds on registers alone, no memory at all.
// Twelve independent chains hide the latency of a multiply followed by an add; the benchmarks
// divide by this.

import { madd } from "../lib/simd";

/** f32 operations (a multiply and an add count two) of one iteration. */
export const PEAK_OPERATIONS: i32 = 12 * 4 * 2;

/** Runs `iterations` of PEAK_OPERATIONS; the result depends on all of them. */
export function peakMulAdd(iterations: i32, factor: f32, term: f32): f32 {
  const f = f32x4.splat(factor);
  const t = f32x4.splat(term);
  let v0 = f32x4.splat(0.5);
  let v1 = f32x4.splat(1.5);
  let v2 = f32x4.splat(2.5);
  let v3 = f32x4.splat(3.5);
  let v4 = f32x4.splat(4.5);
  let v5 = f32x4.splat(5.5);
  let v6 = f32x4.splat(6.5);
  let v7 = f32x4.splat(7.5);
  let v8 = f32x4.splat(8.5);
  let v9 = f32x4.splat(9.5);
  let v10 = f32x4.splat(10.5);
  let v11 = f32x4.splat(11.5);
  for (let i = iterations; i > 0; i--) {
    v0 = madd(v0, f, t);
    v1 = madd(v1, f, t);
    v2 = madd(v2, f, t);
    v3 = madd(v3, f, t);
    v4 = madd(v4, f, t);
    v5 = madd(v5, f, t);
    v6 = madd(v6, f, t);
    v7 = madd(v7, f, t);
    v8 = madd(v8, f, t);
    v9 = madd(v9, f, t);
    v10 = madd(v10, f, t);
    v11 = madd(v11, f, t);
  }
  const low = f32x4.add(f32x4.add(v0, v1), f32x4.add(v2, v3));
  const middle = f32x4.add(f32x4.add(v4, v5), f32x4.add(v6, v7));
  const high = f32x4.add(f32x4.add(v8, v9), f32x4.add(v10, v11));
  return f32x4.extract_lane(f32x4.add(f32x4.add(low, middle), high), 0);
}
