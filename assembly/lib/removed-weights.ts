// What the column sweep does within four columns of a row, and what they take off the rest of it.

import { nmadd } from "./simd";

/** i32 that `writeMasks` writes. */
export const LANE_MASKS: i32 = 16;

/** A bit for each of the 0 < n <= 4 weights at a mask that is removed. */
// @ts-ignore: decorator
@inline
export function removedBits(mask: usize, n: i32): i32 {
  if (n == 4) {
    const ones: u32 = ~load<u32>(mask) & 0x01010101;
    return (ones * 0x01020408) >>> 24 & 15;
  }
  let bits = 0;
  for (let i = 0; i < n; i++) bits |= i32(load<u8>(mask + <usize>i) == 0) << i;
  return bits;
}

/** y [n] -= error * x [n] for n <= 4, but only after `lane`. */
// @ts-ignore: decorator
@inline
export function subtractWithin(error: f32, n: i32, lane: i32, x: usize, y: usize, masks: usize): void {
  if (n == 4) {
    const after = v128.and(v128.load(x), v128.load(masks + (<usize>lane << 4)));
    v128.store(y, nmadd(f32x4.splat(error), after, v128.load(y)));
    return;
  }
  for (let at = <usize>(lane + 1) << 2; at < <usize>n << 2; at += 4) {
    store<f32>(y + at, load<f32>(y + at) - error * load<f32>(x + at));
  }
}

/** masks [4, 4]: in row i, ones behind lane i. */
export function writeMasks(masks: usize): void {
  for (let i = 0; i < 16; i++) store<i32>(masks + (<usize>i << 2), (i & 3) > i >> 2 ? -1 : 0);
}

/** y [n] -= a * x [n], then b * z [n]. */
// @ts-ignore: decorator
@inline
export function subtractTwo(n: i32, a: f32, x: usize, b: f32, z: usize, y: usize): void {
  const left = f32x4.splat(a);
  const right = f32x4.splat(b);
  for (; n >= 8; n -= 8) {
    const once = nmadd(left, v128.load(x), v128.load(y));
    const next = nmadd(left, v128.load(x, 16), v128.load(y, 16));
    v128.store(y, nmadd(right, v128.load(z), once));
    v128.store(y, nmadd(right, v128.load(z, 16), next), 16);
    x += 32;
    y += 32;
    z += 32;
  }
  if (n >= 4) {
    n -= 4;
    const once = nmadd(left, v128.load(x), v128.load(y));
    v128.store(y, nmadd(right, v128.load(z), once));
    x += 16;
    y += 16;
    z += 16;
  }
  for (; n > 0; n--) {
    store<f32>(y, load<f32>(y) - a * load<f32>(x) - b * load<f32>(z));
    x += 4;
    y += 4;
    z += 4;
  }
}
