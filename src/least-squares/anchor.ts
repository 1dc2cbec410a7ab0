import type { Backend } from "../backend.js";
import type { GemmOptions } from "../backends/operations/gemm.js";
import { PenjingError } from "../errors.js";
import type { OptionSpecs } from "../options.js";
import { gemmSteps, paceSteps } from "../steps.js";
import type { Tensor } from "../tensor.js";
import { equilibrate, inverseRoot } from "./equilibrate.js";

/** The option `anchor` of steps that replace linears. */
export const ANCHOR = {
  anchor: {
    kind: "number",
    default: 0,
    min: 0,
    max: 1,
    description:
      "how far a layer makes up for what the compressed blocks before it do to its inputs: 0 not at all, 1 as far as least squares can; costs a second run of the dense model",
  },
} as const satisfies OptionSpecs;

/** The statistics that an anchored target is computed from. */
export const ANCHOR_NEEDS = ["hessian", "crossMoment"] as const;

/** Share that the Hessian's diagonal is raised by, so that what the text hardly shows is not corrected. */
const DAMPING = 0.01;

export interface AnchorProblem {
  /** The layer's name, for messages. */
  readonly name: string;
  /** W, f32 [rows, cols]; not changed. */
  readonly weight: Tensor;
  /** H, f32 [cols, cols]: (2 / sequences) X̂ᵀX̂ of the inputs behind the compressed blocks. */
  readonly hessian: Tensor;
  /** C, f32 [cols, cols]: (2 / sequences) XᵀX̂ with the dense model's inputs X. */
  readonly crossMoment: Tensor;
  /** From 0, where the target is W, to 1, where it best gives X Wᵀ from X̂. */
  readonly anchor: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * What a layer should compute in the place of W, now that its inputs are no longer the dense model's:
 * W* = (W C_a + d W diag(H)) (H + d diag(H))⁻¹ with C_a = (1 - a) H + a C and d = 0.01, which is
 * W + a W (C - H) (H + d diag(H))⁻¹. With a = 1 and no damping W* minimises ||X̂ W*ᵀ - X Wᵀ||². The part
 * a is QEP's (arXiv 2504.09629, equation 8).
 *
 * @returns W*, a new tensor
 * @throws PenjingError when the damped Hessian does not factorise
 */
export async function anchoredTarget(backend: Backend, problem: AnchorProblem): Promise<Tensor> {
  const { name, weight, hessian, crossMoment, anchor, signal } = problem;
  const { ops } = backend;
  const equal = await equilibrate(backend, hessian, DAMPING);
  const scratch: Tensor[] = [];
  const blank = (like: Tensor) => {
    const tensor = backend.zeros(like.shape);
    scratch.push(tensor);
    return tensor;
  };
  const target = backend.zeros(weight.shape);
  try {
    const root = await inverseRoot(backend, equal.hessian, signal);
    if (!root) {
      throw new PenjingError(
        name,
        "the Hessian of its inputs does not factorise, so there is no anchor; give more or other calibration text, or `anchor: 0`.",
      );
    }
    scratch.push(root);
    const difference = blank(hessian);
    ops.subtract(crossMoment, hessian, difference);
    const [moved, half] = [blank(weight), blank(weight)];
    const multiply = (a: Tensor, b: Tensor, out: Tensor, options?: GemmOptions) =>
      paceSteps(gemmSteps(backend, a, b, out, options), signal);
    // Rows of moved are W (C - H), then those times D⁻¹ (D⁻¹ (H + d diag H) D⁻¹)⁻¹ D⁻¹.
    await multiply(weight, difference, moved);
    ops.scaleColumns(moved, equal.back);
    await multiply(moved, root, half, { transposeB: true });
    await multiply(half, root, moved);
    ops.scaleColumns(moved, equal.back);
    // Nothing is known of inputs that are always zero.
    ops.scaleColumns(moved, equal.alive);
    ops.scale(moved, anchor);
    backend.copy(weight, target);
    ops.add(target, moved);
    return target;
  } catch (error) {
    target.dispose();
    throw error;
  } finally {
    equal.dispose();
    for (const tensor of scratch) tensor.dispose();
  }
}
