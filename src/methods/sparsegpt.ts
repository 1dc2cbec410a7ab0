import { deadInputs, inverseFactor } from "../least-squares/inverse-factor.js";
import type { Method } from "../method.js";
import type { OptionSpecs } from "../options.js";

const OPTIONS = {
  damping: {
    kind: "number",
    default: 0.01,
    min: 0,
    max: 100,
    description: "added to the Hessian's diagonal, as a share of its mean",
  },
  blockSize: {
    kind: "number",
    default: 128,
    min: 1,
    max: 65536,
    integer: true,
    description: "columns chosen and updated together, a multiple of M",
  },
} as const satisfies OptionSpecs;

/**
 * SparseGPT (arXiv 2301.00774, algorithm 1): goes through the columns once, removes in each group
 * the weights with the smallest w² / U_jj², and spreads each removal's error over the columns to
 * its right, with U the upper Cholesky factor of the inverse of the damped Hessian.
 */
export const sparsegpt: Method<typeof OPTIONS> = {
  name: "sparsegpt",
  summary: "remove weights column by column and repair the rest with second-order information",
  source: "Frantar and Alistarh 2023, arXiv 2301.00774",
  needs: () => ["hessian"],
  options: OPTIONS,
  rotation: { entropy: "sparsegpt" },
  async prune(problem, { damping, blockSize }) {
    const { backend, weight, sparsity } = problem;
    const { factor, dead, notes } = await inverseFactor(problem, damping);
    if (dead > 0) notes.push(`${deadInputs(dead)}; their weights are removed`);
    const mask = backend.zeros(weight.shape, "u8");
    const predictedLoss = await backend.ops.columnSweep(weight, factor, mask, {
      pattern: sparsity.kind === "n:m" ? sparsity : { ratio: sparsity.ratio },
      blockSize: sparsity.kind === "n:m" ? wholeGroups(blockSize, sparsity.m) : blockSize,
      signal: problem.signal,
    });
    factor.dispose();
    return { mask, figures: { predictedLoss }, notes };
  },
};

/** The largest multiple of m that is at most `blockSize`, and at least m. */
function wholeGroups(blockSize: number, m: number): number {
  return Math.max(m, blockSize - (blockSize % m));
}
