import { keepBest } from "../mask.js";
import type { Method } from "../method.js";

const OPTIONS = {};

/**
 * Wanda: the score is |W| * ||x_j||, with x_j the layer's j-th input over the calibration tokens
 * (arXiv 2306.11695, equation 1). Unstructured selection runs over each output row.
 */
export const wanda: Method<typeof OPTIONS> = {
  name: "wanda",
  summary: "weigh each weight by the norm of its input; no weight update",
  source: "Sun et al. 2023, arXiv 2306.11695",
  needs: () => ["columnSquares"],
  options: OPTIONS,
  rotation: { removed: "wanda", entropy: "sparsegpt" },
  async prune(problem) {
    const { backend, statistics } = problem;
    const squares = (await backend.read(statistics.tensors.columnSquares)) as Float32Array;
    const norms = squares.map((sum) => Math.sqrt(sum / statistics.sequences));
    const columns = backend.upload(norms, [norms.length]);
    const outcome = keepBest(problem, { columns }, "row");
    columns.dispose();
    return outcome;
  },
};
