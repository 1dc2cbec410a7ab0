import { f32, type Tensor, u16 } from "../tensor.js";

/** The value of IEEE 754 binary16 bits. */
export function fromHalf(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The numbers of weights, f32 or f16. */
export function weightsOf(tensor: Tensor): Float32Array {
  return tensor.dtype === "u16" ? Float32Array.from(u16(tensor), fromHalf) : f32(tensor);
}
