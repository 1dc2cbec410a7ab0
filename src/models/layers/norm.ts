import type { Backend } from "../../backend.js";
import type { NormSpec } from "../../model.js";
import type { Tensor } from "../../tensor.js";

/** The parameters of a norm. */
export interface NormWeights {
  /** [width] */
  readonly gain: Tensor;
  /** [width]; "layer" has one. */
  readonly bias?: Tensor | undefined;
}

/**
 * out = norm(x) along stretches of the norm's width.
 *
 * @param out as x; may be x itself
 */
export function normalise(
  backend: Backend,
  { epsilon }: NormSpec,
  x: Tensor,
  { gain, bias }: NormWeights,
  out: Tensor,
): void {
  if (bias) backend.ops.layerNorm(x, gain, bias, out, epsilon);
  else backend.ops.rmsNorm(x, gain, out, epsilon);
}
