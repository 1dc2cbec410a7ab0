import type { Method } from "../method.js";
import { keepNormalised, normalise } from "../normalise.js";

const OPTIONS = {};

/**
 * NoWag-P (arXiv 2504.14569, section 3): normalise the columns of W to unit norm, then the rows,
 * W̄_ij = W_ij / (c_j r_i), and keep the largest importance W̄² h_j, h the diagonal of the inputs'
 * second moment. The score here is its square root. No weight update; unstructured selection runs
 * over the whole layer.
 */
export const nowag: Method<typeof OPTIONS> = {
  name: "nowag",
  summary: "Wanda's score on a weight matrix whose columns and rows were normalised",
  source: "Liu et al. 2025, arXiv 2504.14569",
  needs: () => ["columnSquares"],
  options: OPTIONS,
  rotation: { removed: "wanda" },
  async prune(problem) {
    return keepNormalised(problem, await normalise(problem));
  },
};
