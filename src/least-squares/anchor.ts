import type { Backend } from "../backend.js";
import type { GemmOptions } from "../backends/operations/gemm.js";
import { PenjingError } from "../errors.js";
import type { OptionSpecs } from "../options.js";
import { gemmSteps, paceSteps } from "../steps.js";
import { colsOf, type Tensor } from "../tensor.js";
import { type Equilibrated, equilibrate, takeInverseRoot } from "./equilibrate.js";

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
  anchorResidual: {
    kind: "number",
    default: 0,
    min: 0,
    max: 1,
    description:
      "how far the layers that add to the residual stream (o and down) make up for what it lacks there by now: 0 not at all, 1 as far as least squares can; costs what anchor costs",
  },
  anchorDamping: {
    kind: "number",
    default: 0.01,
    above: 0,
    max: 100,
    description:
      "how much the two anchors hold back where the text shows a layer little: share that the Hessian's diagonal is raised by",
  },
} as const satisfies OptionSpecs;

export interface AnchorProblem {
  /** The layer's name, for messages. */
  readonly name: string;
  /** W, f32 [rows, cols]; not changed. */
  readonly weight: Tensor;
  /** H, f32 [cols, cols]: (2 / sequences) X̂ᵀX̂ of the inputs behind the compressed blocks. */
  readonly hessian: Tensor;
  /**
   * C, f32 [cols, cols]: (2 / sequences) XᵀX̂ with the dense model's inputs X. Read unless `anchor` is 0; its
   * room is computed in, and it is put back.
   */
  readonly crossMoment?: Tensor | undefined;
  /** a: from 0, where the target is W, to 1, where it best gives X Wᵀ from X̂. */
  readonly anchor: number;
  /**
   * M, f32 [rows, cols]: (2 / sequences) (R - R̂)ᵀX̂ of the residual stream that the outputs are added to.
   * Read unless `anchorResidual` is 0.
   */
  readonly residualMoment?: Tensor | undefined;
  /** b: how far the target makes up for what the residual stream lacks. @default 0 */
  readonly anchorResidual?: number | undefined;
  /** d, above 0: share that the Hessian's diagonal is raised by. @default 0.01 */
  readonly anchorDamping?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * What a layer should compute in the place of W, now that its inputs are no longer the dense model's:
 * W* = (W C_a + b M + d W diag(H)) (H + d diag(H))⁻¹ with C_a = (1 - a) H + a C, which is
 * W + (a W (C - H) + b M) (H + d diag(H))⁻¹. With a = b = 1 and no damping W* minimises
 * ||R̂ + X̂ W*ᵀ - R - X Wᵀ||²; damping keeps W in directions that the text hardly shows. The part a is QEP's
 * (arXiv 2504.09629, equation 8); the part b is penjing's own.
 *
 * @returns W*, a new tensor
 * @throws PenjingError when the damped Hessian does not factorise
 */
export async function anchoredTarget(backend: Backend, problem: AnchorProblem): Promise<Tensor> {
  const { name, weight, hessian, anchor, anchorResidual = 0, signal } = problem;
  const { anchorDamping = ANCHOR.anchorDamping.default } = problem;
  const { ops } = backend;
  const crossMoment = anchor > 0 ? problem.crossMoment : undefined;
  // For the widest layers there is no room for more than two matrices of that size.
  const kept = crossMoment && (await backend.read(crossMoment));
  const scratch: Tensor[] = [];
  const target = backend.zeros(weight.shape);
  let equal: Equilibrated | undefined;
  try {
    const moved = backend.zeros(weight.shape);
    scratch.push(moved);
    // Until the last step the target's room is computed in.
    const half = target;
    const multiply = (a: Tensor, b: Tensor, out: Tensor, options?: GemmOptions) =>
      paceSteps(gemmSteps(backend, a, b, out, options), signal);
    // Rows of moved are a W (C - H) + b M, then those times D⁻¹ (D⁻¹ (H + d diag H) D⁻¹)⁻¹ D⁻¹.
    if (crossMoment) {
      const ones = backend.upload(new Float32Array(colsOf(hessian)).fill(1), [colsOf(hessian)]);
      scratch.push(ones);
      ops.addScaledColumns(crossMoment, hessian, ones, -1);
      await multiply(weight, crossMoment, moved);
      ops.scale(moved, anchor);
    }
    if (anchorResidual > 0) {
      backend.copy(problem.residualMoment!, half);
      ops.scale(half, anchorResidual);
      ops.add(moved, half);
    }
    equal = await equilibrate(backend, hessian, anchorDamping, crossMoment);
    const root = equal.hessian;
    if (!(await takeInverseRoot(backend, root, signal))) {
      throw new PenjingError(
        name,
        "the Hessian of its inputs does not factorise, so there is no anchor; give more or other calibration text, a larger `anchorDamping`, or `anchor: 0`.",
      );
    }
    ops.scaleColumns(moved, equal.back);
    await multiply(moved, root, half, { transposeB: true });
    await multiply(half, root, moved);
    ops.scaleColumns(moved, equal.back);
    // Nothing is known of inputs that are always zero.
    ops.scaleColumns(moved, equal.alive);
    backend.copy(weight, target);
    ops.add(target, moved);
    return target;
  } catch (error) {
    target.dispose();
    throw error;
  } finally {
    equal?.dispose();
    for (const tensor of scratch) tensor.dispose();
    if (crossMoment) backend.write(crossMoment, kept!);
  }
}
