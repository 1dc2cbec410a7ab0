// Conversions between f32 and the 16-bit formats, eight at a time, then one by one. Exact one way,
// rounded to nearest (ties to even) the other; NaN stays NaN, f16 overflow becomes infinity. No
// step works on f32 subnormals, which many processors are slow at.

// Constants come from memory: engines rebuild v128 literals at every use.
const CONSTANTS: usize = memory.data<u32>([
  0x7fff, // magnitude of an f16; also what rounds a bf16
  112 << 23, // from the exponent bias of f16 to that of f32
  0x7bff, // the largest finite f16
  0x33800000, // 2^-24, the smallest f16 above 0
  0x3ff, // the largest subnormal f16
  0x7fffffff, // magnitude of an f32
  1,
  0xfff - (112 << 23), // from the bias of f32 to that of f16, and half a place
  0x3f000000, // 0.5, whose last place is 2^-24
  0x387fffff, // below 2^-14, the smallest normal f16
  0x477fefff, // below 65520, which rounds to infinity
  0x7f800000, // infinity
  0x7c00, // infinity as f16
  0x200, // quiet NaN bit of f16
  0x40, // quiet NaN bit of bf16
]);

/** The f32 values of f16 bits in the low halves of four i32. */
// @ts-ignore: decorator
@inline
function halvesToFloats(halves: v128): v128 {
  const magnitude = v128.and(halves, v128.load32_splat(CONSTANTS));
  const sign = i32x4.shl(v128.xor(halves, magnitude), 16);
  const rebias = v128.load32_splat(CONSTANTS, 4);
  // Infinity and NaN are moved twice, to the top of the exponents.
  const special = i32x4.gt_s(magnitude, v128.load32_splat(CONSTANTS, 8));
  const moved = i32x4.add(i32x4.shl(magnitude, 13), rebias);
  const normal = i32x4.add(moved, v128.and(special, rebias));
  const smallest = v128.load32_splat(CONSTANTS, 12);
  const tiny = f32x4.mul(f32x4.convert_i32x4_s(magnitude), smallest);
  const isNormal = i32x4.gt_s(magnitude, v128.load32_splat(CONSTANTS, 16));
  return v128.or(sign, v128.bitselect(normal, tiny, isNormal));
}

/** Four f32 as f16 bits in the low halves of four i32. */
// @ts-ignore: decorator
@inline
function floatsToHalves(x: v128): v128 {
  const magnitude = v128.and(x, v128.load32_splat(CONSTANTS, 20));
  const sign = i32x4.shr_u(v128.xor(x, magnitude), 16);
  const even = v128.and(i32x4.shr_u(magnitude, 13), v128.load32_splat(CONSTANTS, 24));
  const rounded = i32x4.add(i32x4.add(magnitude, v128.load32_splat(CONSTANTS, 28)), even);
  const normal = i32x4.shr_u(rounded, 13);
  // Adding 0.5 rounds to a whole number of 2^-24, which is then read from the bits.
  const half = v128.load32_splat(CONSTANTS, 32);
  const tiny = i32x4.sub(f32x4.add(magnitude, half), half);
  const isNormal = i32x4.gt_s(magnitude, v128.load32_splat(CONSTANTS, 36));
  const finite = v128.bitselect(normal, tiny, isNormal);
  const isLarge = i32x4.gt_s(magnitude, v128.load32_splat(CONSTANTS, 40));
  const isNaN = i32x4.gt_s(magnitude, v128.load32_splat(CONSTANTS, 44));
  const quiet = v128.and(isNaN, v128.load32_splat(CONSTANTS, 52));
  const large = v128.or(v128.load32_splat(CONSTANTS, 48), quiet);
  return v128.or(sign, v128.bitselect(large, finite, isLarge));
}

/** Four f32 as bf16 bits in the low halves of four i32. */
// @ts-ignore: decorator
@inline
function floatsToBrains(x: v128): v128 {
  const upper = i32x4.shr_u(x, 16);
  const even = v128.and(upper, v128.load32_splat(CONSTANTS, 24));
  const rounded = i32x4.add(i32x4.add(x, v128.load32_splat(CONSTANTS)), even);
  const quiet = v128.or(upper, v128.load32_splat(CONSTANTS, 56));
  return v128.bitselect(quiet, i32x4.shr_u(rounded, 16), f32x4.ne(x, x));
}

// @ts-ignore: decorator
@inline
function toFloats(bits: v128, brain: bool): v128 {
  return brain ? i32x4.shl(bits, 16) : halvesToFloats(bits);
}

// @ts-ignore: decorator
@inline
function fromFloats(x: v128, brain: bool): v128 {
  return brain ? floatsToBrains(x) : floatsToHalves(x);
}

// @ts-ignore: decorator
@inline
function widen(bits: usize, out: usize, count: i32, brain: bool): void {
  for (; count >= 8; count -= 8) {
    const eight = v128.load(bits);
    v128.store(out, toFloats(i32x4.extend_low_i16x8_u(eight), brain));
    v128.store(out, toFloats(i32x4.extend_high_i16x8_u(eight), brain), 16);
    bits += 16;
    out += 32;
  }
  for (; count > 0; count--) {
    store<i32>(out, i32x4.extract_lane(toFloats(i32x4.splat(load<u16>(bits)), brain), 0));
    bits += 2;
    out += 4;
  }
}

// @ts-ignore: decorator
@inline
function narrow(x: usize, out: usize, count: i32, brain: bool): void {
  for (; count >= 8; count -= 8) {
    const low = fromFloats(v128.load(x), brain);
    const high = fromFloats(v128.load(x, 16), brain);
    v128.store(out, v128.shuffle<u16>(low, high, 0, 2, 4, 6, 8, 10, 12, 14));
    x += 32;
    out += 16;
  }
  for (; count > 0; count--) {
    store<u16>(out, i32x4.extract_lane(fromFloats(v128.load32_splat(x), brain), 0));
    x += 4;
    out += 2;
  }
}

/** out f32 = `count` f16 bits. */
export function convertWidenF16(bits: usize, out: usize, count: i32): void {
  widen(bits, out, count, false);
}

/** out f32 = `count` bf16 bits. */
export function convertWidenBF16(bits: usize, out: usize, count: i32): void {
  widen(bits, out, count, true);
}

/** out u16 = `count` f32 rounded to f16. */
export function convertNarrowF16(x: usize, out: usize, count: i32): void {
  narrow(x, out, count, false);
}

/** out u16 = `count` f32 rounded to bf16. */
export function convertNarrowBF16(x: usize, out: usize, count: i32): void {
  narrow(x, out, count, true);
}
