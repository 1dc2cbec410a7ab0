import type { WeightOptions } from "../../backend.js";
import type { Tensor } from "../../tensor.js";
import type { StoredTensor } from "../host.js";
import type { WasmStorage } from "../memory.js";

/** The instantiated module and its memory, which every binding file is given once. */
export interface Kernels {
  /** Kernel functions by export name; pointers are byte addresses. */
  readonly exports: Readonly<Record<string, (...args: number[]) => number>>;
  readonly storage: WasmStorage;
}

/** Runs `use` with the address of weights as f32: their own, or a copy where they are f16. */
export function withFloats<T>(kernels: Kernels, weights: Tensor, use: (address: number) => T): T {
  if (weights.dtype === "f32") return use(address(weights));
  return withScratch(kernels, 4 * weights.size, (floats) => {
    kernels.exports.convertWidenF16(address(weights), floats, weights.size);
    return use(floats);
  });
}

/** Formats of weights as assembly/lib/half.ts numbers them. */
export const F16 = 1;
export const I8 = 3;

export function formatOf({ dtype }: Tensor, { format = "f16" }: WeightOptions = {}): number {
  if (dtype === "f32") return 0;
  if (dtype === "u8") return I8;
  return format === "f16" ? F16 : 2;
}

/** Byte address of a tensor in the module's memory. */
export function address(tensor: Tensor): number {
  return (tensor as StoredTensor).address;
}

/**
 * Runs `use` with the address of `bytes` of uncleared scratch memory, and frees it afterwards.
 * Without any bytes the address is 0, and nothing is taken.
 */
export function withScratch<T>(
  { storage }: Kernels,
  bytes: number,
  use: (address: number) => T,
): T {
  if (bytes === 0) return use(0);
  const scratch = storage.reserve(bytes);
  try {
    return use(scratch);
  } finally {
    storage.free(scratch, bytes);
  }
}
