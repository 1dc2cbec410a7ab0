import type { Backend } from "./backend.js";
import type { Tensor } from "./tensor.js";

/**
 * ||X (W - Ŵ)ᵀ||² / ||X Wᵀ||² by way of H = XᵀX (any scaling): trace(D H Dᵀ) / trace(W H Wᵀ).
 * 0 when the layer's output is zero.
 *
 * @param original W, f32 [rows, cols]
 * @param pruned Ŵ, f32 [rows, cols]
 * @param hessian H, f32 [cols, cols]
 */
export async function layerError(
  backend: Backend,
  original: Tensor,
  pruned: Tensor,
  hessian: Tensor,
  signal?: AbortSignal,
): Promise<number> {
  const difference = backend.zeros(original.shape);
  try {
    backend.ops.subtract(original, pruned, difference);
    const lost = await backend.ops.quadraticForm(difference, hessian, { signal });
    const whole = await backend.ops.quadraticForm(original, hessian, { signal });
    return whole > 0 ? lost / whole : 0;
  } finally {
    difference.dispose();
  }
}
