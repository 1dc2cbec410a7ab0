/** Figures of a task from the likelihoods of its choices. */
import type { Likelihood } from "./ask.js";
import type { Task, TaskItem, TaskMetric } from "./task.js";

/** A share of right answers. */
export interface Accuracy {
  readonly value: number;
  /** Standard error of the mean; undefined of a single item. */
  readonly stderr: number | undefined;
}

/** What a choice's log-likelihood is divided by. */
const LENGTHS: Readonly<Record<TaskMetric, (text: string) => number>> = {
  acc: () => 1,
  acc_norm: (text) => [...text].length,
  acc_bytes: (text) => new TextEncoder().encode(text).length,
};

/** Index of the likeliest choice; the first among equals. */
export function answerOf(
  { choices }: TaskItem,
  likelihoods: readonly Likelihood[],
  metric: TaskMetric,
): number {
  const scores = likelihoods.map(({ sum }, i) => sum / LENGTHS[metric](choices[i].continuation));
  return scores.reduce((best, score, i) => (score > scores[best] ? i : best), 0);
}

/** Whether an item was answered rightly, by a metric. */
export function isRight(
  item: TaskItem,
  likelihoods: readonly Likelihood[],
  metric: TaskMetric,
): boolean {
  if (item.choices.length === 1) return likelihoods[0].isGreedy;
  return answerOf(item, likelihoods, metric) === item.gold;
}

/** The accuracies that a task has. */
export function accuraciesOf(
  { metrics }: Pick<Task, "metrics">,
  items: readonly TaskItem[],
  likelihoods: readonly (readonly Likelihood[])[],
): Partial<Record<TaskMetric, Accuracy>> {
  return Object.fromEntries(
    metrics.map((metric) => {
      const right = items.map((item, i) => Number(isRight(item, likelihoods[i], metric)));
      return [metric, accuracyOf(right)];
    }),
  );
}

function accuracyOf(right: readonly number[]): Accuracy {
  const n = right.length;
  const value = right.reduce((sum, one) => sum + one, 0) / n;
  // Of ones and zeros, with n - 1 degrees of freedom.
  const stderr = n > 1 ? Math.sqrt((value * (1 - value)) / (n - 1)) : undefined;
  return { value, stderr };
}

/** exp of the mean over items of minus the log-likelihood, as LAMBADA has it; undefined of choices. */
export function perplexityOf(
  items: readonly TaskItem[],
  likelihoods: readonly (readonly Likelihood[])[],
): number | undefined {
  if (items.some(({ choices }) => choices.length > 1)) return undefined;
  const total = likelihoods.reduce((sum, [{ sum: own }]) => sum + own, 0);
  return Math.exp(-total / items.length);
}

/** Two models on the same items. */
export interface Flips {
  /** Items that are right in one of the two and wrong in the other. */
  readonly flips: number;
  /** Right in this model alone, and in the other alone. */
  readonly gained: number;
  readonly lost: number;
  /**
   * Two-sided p-value of the exact McNemar test: how likely the two counts are as uneven as this or more
   * when neither model is the better.
   */
  readonly pValue: number;
}

/** @param right of this model and of the other, item by item */
export function flipsOf(right: readonly boolean[], other: readonly boolean[]): Flips {
  const gained = right.filter((own, i) => own && !other[i]).length;
  const lost = right.filter((own, i) => !own && other[i]).length;
  return { flips: gained + lost, gained, lost, pValue: exactMcNemar(gained, lost) };
}

/**
 * The exact test of McNemar (Psychometrika 12, 1947): of n = b + c items that changed, each goes either way
 * with 1/2, so that the smaller count is binomial.
 *
 * @returns min(1, 2 P(X <= min(b, c))), X ~ Binomial(b + c, 1/2)
 */
export function exactMcNemar(b: number, c: number): number {
  const n = b + c;
  let term = -n * Math.LN2;
  let tail = 0;
  // Terms of the sum by their logarithms, as 2^-n is no number for large n.
  for (let k = 0; k <= Math.min(b, c); k++) {
    tail += Math.exp(term);
    term += Math.log((n - k) / (k + 1));
  }
  return Math.min(1, 2 * tail);
}
