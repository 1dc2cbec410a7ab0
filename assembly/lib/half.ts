// Weights in fewer bits, widened in registers. A kernel is written once for a type T of stored weights.
// Integer types stand for formats that WebAssembly has no type for. Code that is not worth a copy for
// each type takes the number of the format:
//   0  f32
//   1  u16  binary16 (f16)
//   2  i16  bfloat16 (bf16)
//   3  i8   whole numbers, with a float32 scale for each row
//
// The bits of an f16, moved to where an f32 has them, are its value times 2^-112. `low` and `high` only
// move bits. Their callers multiply by 2^112, by way of activations and scales. f16 subnormals become
// f32 subnormals, which many processors are slow at. Rows are scaled when they are prepared, so that
// few are left.

export const F32: i32 = 0;
export const F16: i32 = 1;
export const BF16: i32 = 2;
export const I8: i32 = 3;

/** Bytes of a weight. */
// @ts-ignore: decorator
@inline
export function sizeOfFormat(format: i32): usize {
  return format == F32 ? 4 : format == I8 ? 1 : 2;
}

/** The bits of an f32 that a moved f16 may set. */
const MOVED: usize = memory.data<u32>([0x8fffe000, 0x8fffe000, 0x8fffe000, 0x8fffe000], 16);

/** A mask that `low` and `high` need, from memory: engines rebuild v128 literals at every use. */
// @ts-ignore: decorator
@inline
export function movedBits(): v128 {
  return v128.load(MOVED);
}

/** Whether T stands for f16. */
// @ts-ignore: decorator
@inline
export function isHalf<T>(): bool {
  return isInteger<T>() && !isSigned<T>();
}

/** The first four of eight 16-bit numbers (i8 was extended to such) as f32; f16 times 2^-112. */
// @ts-ignore: decorator
@inline
export function low<T>(eight: v128, moved: v128): v128 {
  if (sizeof<T>() == 1) return f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(eight));
  const upper = v128.shuffle<i16>(i32x4.splat(0), eight, 0, 8, 1, 9, 2, 10, 3, 11);
  return isHalf<T>() ? v128.and(i32x4.shr_s(upper, 3), moved) : upper;
}

/** The last four; see `low`. */
// @ts-ignore: decorator
@inline
export function high<T>(eight: v128, moved: v128): v128 {
  if (sizeof<T>() == 1) return f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(eight));
  const upper = v128.shuffle<i16>(i32x4.splat(0), eight, 4, 12, 5, 13, 6, 14, 7, 15);
  return isHalf<T>() ? v128.and(i32x4.shr_s(upper, 3), moved) : upper;
}

/** 2^exponent, for exponents from -126 to 127. */
// @ts-ignore: decorator
@inline
export function powerOfTwo(exponent: i32): f32 {
  return reinterpret<f32>((exponent + 127) << 23);
}

/** Activations are multiplied with this before they meet f16 weights whose bits were only moved. */
// @ts-ignore: decorator
@inline
export function halfLift(): f32 {
  return powerOfTwo(48);
}

/** The rest of 2^112, for the sums of these products. */
// @ts-ignore: decorator
@inline
export function halfRest(): f32 {
  return powerOfTwo(64);
}

/** to [count] = factor * from [count]; count a multiple of 4. */
export function scaleFloats(count: i32, factor: f32, from: usize, to: usize): void {
  const f = f32x4.splat(factor);
  for (; count > 0; count -= 4) {
    v128.store(to, f32x4.mul(f, v128.load(from)));
    from += 16;
    to += 16;
  }
}

/** One weight as f32, f16 times 2^-112. */
// @ts-ignore: decorator
@inline
export function single<T>(at: usize): f32 {
  if (sizeof<T>() == 4) return load<f32>(at);
  if (sizeof<T>() == 1) return <f32>load<i8>(at);
  const upper = <i32>load<u16>(at) << 16;
  return reinterpret<f32>(isHalf<T>() ? (upper >> 3) & 0x8fffe000 : upper);
}
