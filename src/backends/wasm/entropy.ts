import type { EntropyOptions, Operations } from "../../backend.js";
import { colsOf, f32, rowsOf, type Tensor } from "../../tensor.js";
import { address, type Kernels, withScratch } from "./kernels.js";

/** Calls `run` with the addresses of a line's factors f32 and of room for derivatives by them f64. */
function withFactors(
  kernels: Kernels,
  length: number,
  { scale, inverse = false, scaleGradient, accumulate = false }: EntropyOptions,
  run: (factors: number, byFactor: number) => number,
): number {
  // Kernels go on to the next multiple of four.
  const padded = Math.ceil(length / 4) * 4;
  return withScratch(kernels, 12 * padded, (byFactor) => {
    const at = byFactor + 8 * padded;
    const { buffer } = kernels.storage.at(at);
    const factors = new Float32Array(buffer, at, padded).fill(0);
    const scales = scale && f32(scale);
    for (let i = 0; i < length; i++) {
      if (!scales) factors[i] = 1;
      else factors[i] = inverse ? 1 / scales[i] : scales[i];
    }
    const sum = run(at, scaleGradient ? byFactor : 0);
    if (scaleGradient) {
      const out = f32(scaleGradient);
      // The kernel may have moved the memory by growing it, so views are made anew.
      const sums = new Float64Array(kernels.storage.at(at).buffer, byFactor, length);
      const used = new Float32Array(kernels.storage.at(at).buffer, at, length);
      for (let i = 0; i < length; i++) {
        const derivative = inverse ? -sums[i] * used[i] ** 2 : sums[i];
        out[i] = derivative + (accumulate ? out[i] : 0);
      }
    }
    return sum;
  });
}

export function bind(kernels: Kernels): Partial<Operations> {
  const { exports } = kernels;
  const operands = (w: Tensor, factors: number, gradient: Tensor, byFactor: number) => [
    rowsOf(w),
    colsOf(w),
    address(w),
    factors,
    address(gradient),
    byFactor,
  ];
  return {
    async entropyRows(w, gradient, options = {}) {
      const accumulate = Number(options.accumulate ?? false);
      return withFactors(kernels, colsOf(w), options, (factors, byFactor) =>
        exports.entropyRows(...operands(w, factors, gradient, byFactor), accumulate),
      );
    },
    async entropyColumns(w, gradient, options = {}) {
      const accumulate = Number(options.accumulate ?? false);
      return withFactors(kernels, rowsOf(w), options, (factors, byFactor) =>
        withScratch(kernels, exports.entropyColumnsScratch(colsOf(w)), (scratch) =>
          exports.entropyColumns(...operands(w, factors, gradient, byFactor), accumulate, scratch),
        ),
      );
    },
  };
}
