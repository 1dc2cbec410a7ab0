import { PenjingError } from "../errors.js";
import {
  BLOCK_SIZE,
  chooseBlocks,
  coreForm,
  coreRefusal,
  factorValues,
  identityFactors,
  plannedForm,
} from "../factors/blocks.js";
import { FIT_DAMPING, fitFactors } from "../factors/fit.js";
import { type Method, thinCurve } from "../method.js";
import type { OptionSpecs } from "../options.js";
import type { Tensor } from "../tensor.js";
import { sparsegpt } from "./sparsegpt.js";

const OPTIONS = {
  blockSize: BLOCK_SIZE,
  rounds: {
    kind: "number",
    default: 40,
    min: 1,
    max: 1e5,
    integer: true,
    description: "passes over all factors",
  },
  damping: FIT_DAMPING,
} as const satisfies OptionSpecs;

/** What SparseGPT starts with: its own defaults. */
const START = { damping: 0.01, blockSize: 128 };

/** Where the damping begins, and the share of the rounds after which it is at its end. */
const FIRST_DAMPING = 10;
const FALLING = 0.7;

/**
 * ARMOR's factors (arXiv 2510.05528) fitted to the layer's outputs: W ≈ A S B minimises
 * tr((A S B - W) H (A S B - W)ᵀ) with the full Hessian of the inputs, damped, from SparseGPT's S and
 * A = B = I. Each round solves A by least squares, then each block of B, then goes once through all
 * groups of S and gives each its best two places and values. The damping falls from FIRST_DAMPING to
 * the option's: from nearly ARMOR's diagonal proxy, in which places and factors move far, to nearly
 * the layer's error, which never ends above SparseGPT's.
 */
export const armorHessian: Method<typeof OPTIONS> = {
  name: "armor-hessian",
  summary:
    "ARMOR's factors fitted to the layer's outputs by least squares, from SparseGPT's result",
  source: "factors of Liu et al. 2025, arXiv 2510.05528; the fit is penjing's own",
  needs: () => ["hessian"],
  isTimed: true,
  options: OPTIONS,
  rotation: { entropy: "sparsegpt" },
  refusal: coreRefusal,
  form: (shape, { blockSize }) => plannedForm(shape, blockSize),
  async prune(problem, { blockSize, rounds, damping }) {
    const { backend, weight, signal } = problem;
    signal?.throwIfAborted();
    const refused = coreRefusal(problem.sparsity);
    if (refused) throw new PenjingError(problem.name, `armor-hessian ${refused}`);
    const { blocks, notes } = chooseBlocks(problem, blockSize);
    const made: Tensor[] = [];
    const original = backend.zeros(weight.shape);
    try {
      backend.copy(weight, original);
      const start = await sparsegpt.prune(problem, START);
      const { mask } = start;
      made.push(mask);
      const factors = identityFactors(problem, blocks);
      made.push(factors.left, factors.right);
      const fit = await fitFactors(
        problem,
        { original, mask, factors },
        {
          rounds,
          dampingAt: (share) =>
            damping * Math.max(1, FIRST_DAMPING / damping) ** Math.max(0, 1 - share / FALLING),
        },
      );
      return {
        mask,
        form: coreForm(weight, factors),
        curve: thinCurve(fit.losses),
        figures: {
          errorBefore: fit.errorBefore,
          errorAfter: fit.errorAfter,
          rounds: fit.losses.length - 1,
          ...blocks,
          extraValues: factorValues(factors),
        },
        notes: [...start.notes, ...notes, ...fit.notes],
      };
    } catch (error) {
      for (const tensor of made) tensor.dispose();
      throw error;
    } finally {
      original.dispose();
    }
  },
};
