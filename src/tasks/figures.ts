/** Figures of a task from the log-likelihoods of its choices. */
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
  logLikelihoods: readonly number[],
  metric: TaskMetric,
): number {
  const scores = logLikelihoods.map((sum, i) => sum / LENGTHS[metric](choices[i].continuation));
  return scores.reduce((best, score, i) => (score > scores[best] ? i : best), 0);
}

/** The accuracies that a task has. */
export function accuraciesOf(
  { metrics }: Pick<Task, "metrics">,
  items: readonly TaskItem[],
  logLikelihoods: readonly (readonly number[])[],
): Partial<Record<TaskMetric, Accuracy>> {
  return Object.fromEntries(
    metrics.map((metric) => {
      const right = items.map((item, i) =>
        Number(answerOf(item, logLikelihoods[i], metric) === item.gold),
      );
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
