/** How good a model was before something was done to it, and how good it is after. */
import type { Score } from "./score.js";
import type { TextFacts } from "./text.js";

/** How good the model was before a run and is after it, on the same windows. */
export interface Evaluation {
  readonly before: Omit<Score, "against"> & TextFacts;
  /** With how far it is from what it was. */
  readonly after: Score & TextFacts;
}

/** @param score of the compressed model, against the one that it was made from */
export function evaluationOf(score: Score, facts: TextFacts): Evaluation {
  const { against, ...own } = score;
  const { perplexity, windowNll } = against!;
  return {
    before: { ...own, perplexity, windowNll, nll: Math.log(perplexity), ...facts },
    after: { ...score, ...facts },
  };
}
