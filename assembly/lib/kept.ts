// Which weights of groups of m stay when a grid is swept: all but the smallest x² * omega.

import { dropBits, dropBitsOfFour } from "./select";

/** Weights of a group, at most. */
const GROUP: usize = 16;

/** Bytes of scratch for `keepLargest`. */
export function keepScratch(): usize {
  return GROUP << 2;
}

/**
 * Writes the mask of some whole groups.
 *
 * @param n weights, a multiple of m
 * @param drop how many of each group go
 * @param x f32 [n], f32 weights omega [n], and mask u8 [n], written: 1 = kept
 */
export function keepLargest(
  n: i32,
  m: i32,
  drop: i32,
  x: usize,
  omega: usize,
  mask: usize,
  scratch: usize,
): void {
  for (; n > 0; n -= m) {
    if (m == 4) {
      const values = v128.load(x);
      const scores = f32x4.mul(f32x4.mul(values, values), v128.load(omega));
      const bits = dropBitsOfFour(scores, drop);
      store<u32>(mask, (<u32>(bits ^ 15) * 0x00204081) & 0x01010101);
    } else {
      for (let i = 0; i < m; i++) {
        const at = <usize>i << 2;
        const value = load<f32>(x + at);
        store<f32>(scratch + at, value * value * load<f32>(omega + at));
      }
      const bits = dropBits(scratch, m, drop);
      for (let i = 0; i < m; i++) store<u8>(mask + <usize>i, ((bits >> i) & 1) ^ 1);
    }
    const step = <usize>m << 2;
    x += step;
    omega += step;
    mask += <usize>m;
  }
}
