// Rows of f16 times a power of two, so that the largest value of a row has the largest exponent. This
// changes no digit and leaves few subnormals.

/** The power of two that takes the largest of `count` f16 to the largest exponent. */
export function rowLift(values: usize, count: i32): i32 {
  let largest: u32 = 0;
  for (; count > 0; count--) {
    largest = max(largest, <u32>load<u16>(values) & 0x7fff);
    values += 2;
  }
  if (largest == 0) return 0;
  if (largest >= 0x400) return max(0, 30 - <i32>(largest >> 10));
  // A subnormal. If its highest digit is bit 9, it is at least half of the smallest normal number.
  return 29 + <i32>clz(largest) - 21;
}

/** An f16 times 2^lift, which does not overflow. */
export function lifted(half: u32, lift: i32): u32 {
  const magnitude = half & 0x7fff;
  if (magnitude >= 0x400) return half + <u32>(lift << 10);
  const sign = half ^ magnitude;
  // This many places make it normal, and the rest of the lift goes to the exponent.
  const places = magnitude ? <i32>clz(magnitude) - 21 : 64;
  if (lift < places) return sign | (magnitude << lift);
  return sign | ((magnitude << places) + <u32>((lift - places) << 10));
}
