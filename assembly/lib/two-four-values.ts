// Widens values of 2:4 matrices in fewer bits to f32, from the lanes of the prepared form
// (lib/two-four-form.ts). A vector takes a shift, a mask or both. T is as in lib/half.ts.

import { isHalf } from "./half";

/** The bits that a value may set in a lane: of an f16 whose bits were moved, of a bf16, and of an i8. */
const BITS: usize = memory.data<u32>([0x8fffe000, 0xffff0000, 0xff000000]);

/** Products with the `pairValues` of whole numbers are to be multiplied with this. */
export const WHOLE_REST: f32 = 5.9604644775390625e-8;

/** A mask that `pairValues` needs, from memory: engines rebuild v128 literals at every use. */
// @ts-ignore: decorator
@inline
export function pairBits<T>(): v128 {
  return v128.load32_splat(BITS + (sizeof<T>() == 1 ? 8 : isHalf<T>() ? 0 : 4));
}

/**
 * The four values of pair `pair`, 0 to 3, as f32; f16 times 2^-112, i8 times 2^24.
 *
 * @param lanes the vector that holds the pair: all four of i8, two of 16 bits
 */
// @ts-ignore: decorator
@inline
export function pairValues<T>(lanes: v128, pair: i32, bits: v128): v128 {
  if (sizeof<T>() == 1) {
    const top = pair == 3 ? lanes : i32x4.shl(lanes, 24 - 8 * pair);
    return f32x4.convert_i32x4_s(pair == 0 ? top : v128.and(top, bits));
  }
  const top = pair & 1 ? lanes : i32x4.shl(lanes, 16);
  if (isHalf<T>()) return v128.and(i32x4.shr_s(top, 3), bits);
  return pair & 1 ? v128.and(top, bits) : top;
}
