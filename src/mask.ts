import type { LinearProblem, PruneOutcome } from "./method.js";
import { removedCount } from "./sparsity.js";
import { colsOf, type Tensor } from "./tensor.js";

/** Over which weights an unstructured choice is made. */
export type SelectionScope = "row" | "matrix";

/**
 * Keeps the highest-scoring weights as the problem's sparsity says and zeroes the others. N:M
 * chooses in every group of M consecutive inputs; unstructured removes exactly floor(n * ratio) of
 * the n weights of each row or of the whole matrix. Ties remove the lowest column first.
 *
 * @param scale factors whose product with |weight| is the score; missing ones are 1.
 *   `columns` [inFeatures], `rows` [outFeatures]
 */
export function keepBest(
  { backend, weight, sparsity }: LinearProblem,
  scale: { readonly columns?: Tensor | undefined; readonly rows?: Tensor | undefined },
  scope: SelectionScope,
): PruneOutcome {
  const { ops } = backend;
  const scores = backend.zeros(weight.shape);
  const mask = backend.zeros(weight.shape, "u8");
  ops.scaledMagnitude(weight, scores, scale.columns, scale.rows);
  if (sparsity.kind === "n:m") ops.selectNofM(scores, mask, sparsity.n, sparsity.m);
  else if (scope === "row") {
    ops.selectPerRow(scores, mask, removedCount(colsOf(weight), sparsity.ratio));
  } else ops.selectPerMatrix(scores, mask, removedCount(weight.size, sparsity.ratio));
  ops.applyMask(weight, mask);
  scores.dispose();
  return { mask, figures: {}, notes: [] };
}
