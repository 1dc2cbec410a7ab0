import { PenjingError } from "../errors.js";
import { equilibrate, takeInverseRoot } from "../least-squares/equilibrate.js";
import { keepBest } from "../mask.js";
import type { LinearProblem, Method, PruneOutcome } from "../method.js";
import type { OptionSpecs } from "../options.js";
import { pause } from "../run.js";
import { removedCount, type Sparsity } from "../sparsity.js";
import { gemmSteps, paceSteps } from "../steps.js";
import { colsOf, type Tensor } from "../tensor.js";

const OPTIONS = {
  damping: {
    kind: "number",
    default: 0.1,
    min: 1e-6,
    max: 100,
    description: "share that the Hessian's diagonal is raised by",
  },
  iterations: {
    kind: "number",
    default: 20,
    min: 1,
    max: 10_000,
    integer: true,
    description: "iterations; in the first three quarters of them the mask grows to its sparsity",
  },
  penalty: {
    kind: "number",
    default: 1,
    min: 1e-3,
    max: 1e3,
    description: "how strongly weights are drawn to the mask, beside a Hessian whose diagonal is 1",
  },
} as const satisfies OptionSpecs;

/** More than any weight. */
const LARGEST = 2 ** 127;
/** Share of the iterations in which the sparsity grows. */
const GROWTH = 0.75;

/**
 * ADMM (Boža 2024, arXiv 2401.02938, algorithm 2): finds mask and weights together, by turns of least
 * squares without a mask, W = (H + p I)⁻¹ (H W₀ + p (Z - U)), the nearest masked weights Z of W + U, and
 * U = U + W - Z. H is scaled to a diagonal of ones first. The sparsity grows as 1 - (1 - t)³; the mask
 * of N:M is chosen group by group, and while it grows only the smallest of what it removes goes.
 * Unstructured choices are made row by row.
 */
export const admm: Method<typeof OPTIONS> = {
  name: "admm",
  summary: "alternate between least squares and the nearest mask, which grows to its sparsity",
  source: "Boža 2024, arXiv 2401.02938",
  needs: () => ["hessian"],
  options: OPTIONS,
  rotation: { removed: "wanda", entropy: "sparsegpt" },
  async prune(problem, options) {
    const { backend, weight, statistics, signal } = problem;
    const { ops } = backend;
    const { iterations, penalty } = options;
    if (removesNothing(problem.sparsity)) return keepBest(problem, {}, "row");
    const scratch: Tensor[] = [];
    const blank = () => {
      const tensor = backend.zeros(weight.shape);
      scratch.push(tensor);
      return tensor;
    };
    const equal = await equilibrate(backend, statistics.tensors.hessian, options.damping);
    try {
      const times = (a: Tensor, b: Tensor, out: Tensor, transposeB = false) =>
        paceSteps(gemmSteps(backend, a, b, out, { transposeB }), signal);
      const [goal, pull, moved, masked, dual] = [blank(), blank(), blank(), blank(), blank()];
      ops.scaleColumns(weight, equal.there);
      ops.scaleColumns(weight, equal.alive);
      await times(weight, equal.hessian, goal);
      const root = await inverseRootOf(problem, equal.hessian, penalty);
      scratch.push(root);
      let outcome: PruneOutcome | undefined;
      for (let done = 1; ; done++) {
        await pause(signal);
        const share = Math.min(1, done / Math.max(1, Math.floor(GROWTH * iterations)));
        // Z, the nearest masked weights of W + U.
        backend.copy(weight, masked);
        ops.add(masked, dual);
        outcome?.mask.dispose();
        outcome = await keepShare({ ...problem, weight: masked }, 1 - (1 - share) ** 3);
        problem.onProgress?.(done / iterations);
        if (done === iterations) break;
        ops.add(dual, weight);
        ops.subtract(dual, masked, dual);
        // W = (H W₀ + p (Z - U)) (H + p I)⁻¹
        ops.subtract(masked, dual, pull);
        ops.scale(pull, penalty);
        ops.add(pull, goal);
        await times(pull, root, moved, true);
        await times(moved, root, weight);
      }
      backend.copy(masked, weight);
      ops.scaleColumns(weight, equal.back);
      ops.applyMask(weight, outcome.mask);
      return outcome;
    } finally {
      equal.dispose();
      for (const tensor of scratch) tensor.dispose();
    }
  },
};

function removesNothing(sparsity: Sparsity): boolean {
  return sparsity.kind === "n:m" ? sparsity.n === sparsity.m : sparsity.ratio === 0;
}

/**
 * Keeps the largest weights, row by row or of every M, but removes only a share of what that removes,
 * the smallest of each row.
 */
async function keepShare(problem: LinearProblem, share: number): Promise<PruneOutcome> {
  const { backend, weight, sparsity } = problem;
  if (sparsity.kind === "unstructured") {
    return keepBest(
      { ...problem, sparsity: { ...sparsity, ratio: share * sparsity.ratio } },
      {},
      "row",
    );
  }
  if (share === 1) return keepBest(problem, {}, "row");
  const { ops } = backend;
  const { n, m } = sparsity;
  const [scores, mask] = [backend.zeros(weight.shape), backend.zeros(weight.shape, "u8")];
  ops.scaledMagnitude(weight, scores, undefined, undefined);
  ops.selectNofM(scores, mask, n, m);
  const sizes = (await backend.read(scores)) as Float32Array;
  const kept = (await backend.read(mask)) as Uint8Array;
  backend.write(
    scores,
    sizes.map((size, i) => (kept[i] === 1 ? LARGEST : size)),
  );
  ops.selectPerRow(scores, mask, removedCount(colsOf(weight), share * (1 - n / m)));
  ops.applyMask(weight, mask);
  scores.dispose();
  return { mask, figures: {}, notes: [] };
}

/** L⁻¹ of H + p I. */
async function inverseRootOf(
  { name, backend, signal }: LinearProblem,
  hessian: Tensor,
  penalty: number,
): Promise<Tensor> {
  const root = backend.zeros(hessian.shape);
  const raise = backend.upload(new Float32Array(colsOf(hessian)).fill(penalty), [colsOf(hessian)]);
  try {
    backend.copy(hessian, root);
    backend.ops.addDiagonal(root, raise);
    if (await takeInverseRoot(backend, root, signal)) return root;
    throw new PenjingError(
      name,
      `the Hessian of its inputs does not factorise; give more or other calibration text, more damping, or leave the layer out with \`ignore: "${name}"\`.`,
    );
  } catch (error) {
    root.dispose();
    throw error;
  } finally {
    raise.dispose();
  }
}
