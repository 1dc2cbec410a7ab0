/** Tasks: what is asked of a model, and how its answers are counted. */
import type { DatasetRow } from "../datasets/document.js";

/** One answer: how likely is its continuation after its context? */
export interface TaskChoice {
  /** What is there already; trailing spaces count to the continuation. */
  readonly context: string;
  /** Without the space before it. */
  readonly continuation: string;
}

/** One row of a task. */
export interface TaskItem {
  /** One alone is right where the model would have written it: each of its tokens is the likeliest. */
  readonly choices: readonly TaskChoice[];
  /** Index of the right choice. */
  readonly gold: number;
}

/**
 * How often the choice with the largest sum of log-likelihoods is the right one: as it is ("acc"), or by the
 * characters ("acc_norm") or the UTF-8 bytes ("acc_bytes") of the continuation. Where there is one
 * continuation and no choice, "acc" is how often the model would have written it.
 */
export type TaskMetric = "acc" | "acc_norm" | "acc_bytes";

export interface Task {
  readonly name: string;
  /** The one that papers report. */
  readonly metric: TaskMetric;
  /** Those that mean something; lengths do not where all choices have one continuation. */
  readonly metrics: readonly TaskMetric[];
  /**
   * @param label of the row, where the task has a file of labels
   * @throws PenjingError naming the column that is missing or wrong
   */
  item(row: DatasetRow, label?: string): TaskItem;
}

/** A task whose files are known by their names. */
export interface KnownTask extends Task {
  /** What its data file is called, in the folder of the data or one below. */
  readonly files: RegExp;
  /** What is called so holds the right choices, a number in each line, where the rows do not. */
  readonly labels?: RegExp | undefined;
}
