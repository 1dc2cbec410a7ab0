import type { Backend } from "../../backend.js";
import type { NormSpec } from "../../model.js";
import type { Tensor } from "../../tensor.js";

/**
 * out = norm(x) along stretches of the norm's width.
 *
 * @param gain [width]
 * @param out as x; may be x itself
 */
export function normalise(
  backend: Backend,
  { epsilon }: NormSpec,
  x: Tensor,
  gain: Tensor,
  out: Tensor,
): void {
  backend.ops.rmsNorm(x, gain, out, epsilon);
}
