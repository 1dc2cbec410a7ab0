import { f32 } from "../../tensor.js";
import type { EntropyOptions } from "../operations/entropy.js";
import { doublesAt, floatsAt, type Kernels, withScratch } from "./kernels.js";

/**
 * Calls `run` with two addresses: of a line's factors on w², f32, and of room for the derivatives by
 * them, summed over lines, f64 (0 when nobody asks). Then writes the derivatives by the scale.
 */
export function withFactors(
  kernels: Kernels,
  length: number,
  { scale, inverse = false, scaleGradient, accumulate = false }: EntropyOptions,
  run: (factors: number, byFactor: number) => number,
): number {
  // Kernels read up to the next multiple of four.
  const padded = Math.ceil(length / 4) * 4;
  return withScratch(kernels, 12 * padded, (byFactor) => {
    const at = byFactor + 8 * padded;
    const factors = floatsAt(kernels, at, padded).fill(0);
    const scales = scale && f32(scale);
    for (let i = 0; i < length; i++) {
      if (!scales) factors[i] = 1;
      else factors[i] = inverse ? 1 / scales[i] : scales[i];
    }
    const sum = run(at, scaleGradient ? byFactor : 0);
    if (scaleGradient) {
      const out = f32(scaleGradient);
      // The kernel may have grown the memory, which moves it: old views are void.
      const sums = doublesAt(kernels, byFactor, length);
      const used = floatsAt(kernels, at, length);
      for (let i = 0; i < length; i++) {
        const derivative = inverse ? -sums[i] * used[i] ** 2 : sums[i];
        out[i] = derivative + (accumulate ? out[i] : 0);
      }
    }
    return sum;
  });
}
