import { PenjingError } from "../errors.js";
import { aligned, type StoredDType } from "../tensor.js";

/** Bytes per element. */
export const DTYPE_BYTES: Readonly<Record<StoredDType, number>> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
};

/** Whether a name is one of the dtypes above, in safetensors' spelling. */
export function isStoredDType(name: unknown): name is StoredDType {
  return typeof name === "string" && Object.hasOwn(DTYPE_BYTES, name);
}

/** The f32 bits of one IEEE 754 binary16 value. */
function halfToSingleBits(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 31) return sign | 0x7f800000 | (fraction << 13);
  if (exponent > 0) return sign | ((exponent + 112) << 23) | (fraction << 13);
  if (fraction === 0) return sign;
  // A subnormal: shift its leading one into the hidden place.
  const shift = Math.clz32(fraction) - 21;
  return sign | ((113 - shift) << 23) | (((fraction << shift) & 0x3ff) << 13);
}

/** The binary16 value nearest to f32 bits, ties to even, overflow to infinity. */
export function singleBitsToHalf(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00 | ((magnitude >> 13) & 0x1ff);
  // 2^16 and more; from 65520 up to it, rounding below carries into infinity.
  if (magnitude >= 0x47800000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // Below 2^-14 halves are multiples of 2^-24: count them.
    const exponent = magnitude >>> 23;
    if (exponent < 102) return sign;
    const significand = (magnitude & 0x7fffff) | 0x800000;
    return sign | roundShift(significand, 126 - exponent);
  }
  return sign | roundShift(magnitude - 0x38000000, 13);
}

/** `value / 2^shift` to the nearest integer, ties to even; `shift` from 1 to 24. */
function roundShift(value: number, shift: number): number {
  const kept = value >>> shift;
  const rest = value & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return rest > half || (rest === half && (kept & 1) === 1) ? kept + 1 : kept;
}

let halfTable: Uint32Array | undefined;

/** The f32 bits of every half: 256 KiB, built when first needed. */
function halves(): Uint32Array {
  halfTable ??= Uint32Array.from({ length: 65536 }, (_, half) => halfToSingleBits(half));
  return halfTable;
}

/** The value of every half by its bits. */
export function halfValues(): Float32Array {
  return new Float32Array(halves().buffer);
}

/**
 * The f32 values of little-endian float elements. F32, F16 and BF16 are exact, NaN bits included;
 * F64 rounds to nearest even. F32 input that is 4-byte aligned is viewed, not copied.
 *
 * @param info the tensor's dtype, and its name for messages; an integer dtype is refused
 * @param bytes a whole number of elements
 */
export function toFloat32(
  info: { readonly name: string; readonly dtype: string },
  bytes: Uint8Array,
): Float32Array {
  const width = isStoredDType(info.dtype) ? DTYPE_BYTES[info.dtype] : 1;
  if (bytes.byteLength % width !== 0) {
    throw new PenjingError(
      info.name,
      `${bytes.byteLength} bytes are not a whole number of ${info.dtype} elements of ${width} bytes.`,
    );
  }
  const length = bytes.byteLength / width;
  const { buffer, byteOffset } = aligned(bytes, width);
  switch (info.dtype) {
    case "F32":
      return new Float32Array(buffer as ArrayBuffer, byteOffset, length);
    case "F64":
      return Float32Array.from(new Float64Array(buffer, byteOffset, length));
    case "F16": {
      const source = new Uint16Array(buffer, byteOffset, length);
      const bits = new Uint32Array(length);
      const table = halves();
      for (let i = 0; i < length; i++) bits[i] = table[source[i]];
      return new Float32Array(bits.buffer);
    }
    case "BF16": {
      const source = new Uint16Array(buffer, byteOffset, length);
      const bits = new Uint32Array(length);
      for (let i = 0; i < length; i++) bits[i] = source[i] << 16;
      return new Float32Array(bits.buffer);
    }
    default:
      throw new PenjingError(
        info.name,
        `its dtype is ${info.dtype}, which is not a floating-point type; weights must be F32, F16, BF16 or F64.`,
      );
  }
}

/**
 * Little-endian elements of `dtype` from f32 values, to nearest, ties to even. F16 beyond 65504
 * rounds to infinity as IEEE 754 says; a NaN stays a NaN.
 *
 * @param dtype a floating-point type; an integer one is refused
 */
export function fromFloat32(dtype: string, values: Float32Array): Uint8Array {
  switch (dtype) {
    case "F32":
      return new Uint8Array(values.slice().buffer);
    case "F64":
      return new Uint8Array(Float64Array.from(values).buffer);
    case "F16":
    case "BF16": {
      const source = aligned(
        new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
        4,
      );
      const bits = new Uint32Array(source.buffer, source.byteOffset, values.length);
      const out = new Uint16Array(values.length);
      if (dtype === "F16") for (let i = 0; i < out.length; i++) out[i] = singleBitsToHalf(bits[i]);
      else for (let i = 0; i < out.length; i++) out[i] = singleBitsToBrain(bits[i]);
      return new Uint8Array(out.buffer);
    }
    default:
      throw new PenjingError(
        dtype,
        "f32 values are stored as F32, F16, BF16 or F64 only; choose one of these dtypes.",
      );
  }
}

/** The bfloat16 value nearest to f32 bits, ties to even. */
function singleBitsToBrain(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}
