import { keepBest } from "../mask.js";
import type { Method } from "../method.js";

const OPTIONS = {};

/**
 * Magnitude pruning: the score is |W|. Needs no calibration. Unstructured selection runs over the
 * whole layer.
 */
export const magnitude: Method<typeof OPTIONS> = {
  name: "magnitude",
  summary: "remove the smallest weights; needs no calibration, loses the most",
  source: "Han et al. 2015, arXiv 1506.02626",
  needs: () => [],
  options: OPTIONS,
  async prune(problem) {
    return keepBest(problem, {}, "matrix");
  },
};
