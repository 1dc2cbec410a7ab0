/// <reference lib="esnext.disposable" preserve="true" />
/** Element types of a checkpoint's tensors, in safetensors' spelling. */
export type StoredDType =
  | "F64"
  | "F32"
  | "F16"
  | "BF16"
  | "I64"
  | "I32"
  | "I16"
  | "I8"
  | "U64"
  | "U32"
  | "U16"
  | "U8"
  | "BOOL";

/** Element types that a backend computes with. `u16` carries raw f16 or bf16 bits. */
export type TensorDType = "f32" | "i32" | "u16" | "u8";

export type TensorData = Float32Array | Int32Array | Uint16Array | Uint8Array;

export const BYTES_PER_ELEMENT: Readonly<Record<TensorDType, number>> = {
  f32: 4,
  i32: 4,
  u16: 2,
  u8: 1,
};

/**
 * A dense row-major array that lives on one backend. It is a handle: its bytes may be on the
 * JavaScript heap, in WebAssembly memory or on a GPU, and only `Backend.read` copies them out.
 */
export interface Tensor {
  readonly dtype: TensorDType;
  readonly shape: readonly number[];
  /** Number of elements. */
  readonly size: number;
  /** Frees the storage. Views made by `Backend.rows` do not own theirs and ignore this. */
  dispose(): void;
  /** The same at the end of a block that declared it with `using`. */
  [Symbol.dispose](): void;
}

/** A tensor whose bytes JavaScript can see without a copy: the reference and wasm backends. */
export interface HostTensor extends Tensor {
  /**
   * The elements, length `size`. Ask again after any allocation: growing WebAssembly memory
   * detaches earlier views.
   */
  readonly data: TensorData;
}

/** Rows of a tensor seen as a matrix: the product of all dimensions but the last. */
export function rowsOf(tensor: Tensor): number {
  return sizeOf(tensor.shape.slice(0, -1));
}

/** Columns of a tensor seen as a matrix: its last dimension. */
export function colsOf(tensor: Tensor): number {
  return tensor.shape[tensor.shape.length - 1] ?? 1;
}

/** Number of elements of a shape. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, dimension) => product * dimension, 1);
}

/** The f32 elements of a host tensor. */
export function f32(tensor: Tensor): Float32Array {
  return (tensor as HostTensor).data as Float32Array;
}

/** The u8 elements of a host tensor. */
export function u8(tensor: Tensor): Uint8Array {
  return (tensor as HostTensor).data as Uint8Array;
}

/** The u16 elements (raw f16 or bf16 bits) of a host tensor. */
export function u16(tensor: Tensor): Uint16Array {
  return (tensor as HostTensor).data as Uint16Array;
}

/** The i32 elements of a host tensor. */
export function i32(tensor: Tensor): Int32Array {
  return (tensor as HostTensor).data as Int32Array;
}

/** `bytes` where a typed array of `width`-byte elements can view it: itself, or a copy. */
export function aligned(bytes: Uint8Array, width: number): Uint8Array<ArrayBuffer> {
  return bytes.byteOffset % width === 0 ? (bytes as Uint8Array<ArrayBuffer>) : bytes.slice();
}
