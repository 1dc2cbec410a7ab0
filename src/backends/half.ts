import type { WeightOptions } from "../backend.js";
import { colsOf, f32, type Tensor, u8, u16 } from "../tensor.js";

/** The value of IEEE 754 binary16 bits. */
export function fromHalf(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

const number = new Float32Array(1);
const bits = new Uint32Array(number.buffer);

/** The value of bfloat16 bits: the upper half of a float32. */
export function fromBrain(brain: number): number {
  bits[0] = brain << 16;
  return number[0];
}

/** The numbers of weights of any type. */
export function weightsOf(tensor: Tensor, { format, scales }: WeightOptions = {}): Float32Array {
  if (tensor.dtype === "u16") {
    return Float32Array.from(u16(tensor), format === "bf16" ? fromBrain : fromHalf);
  }
  if (tensor.dtype !== "u8") return f32(tensor);
  const [factors, cols] = [f32(scales as Tensor), colsOf(tensor)];
  return Float32Array.from(u8(tensor), (byte, i) => ((byte << 24) >> 24) * factors[(i / cols) | 0]);
}
