import { Run } from "./run.js";
import type { EvaluateTasksEvent, EvaluateTasksOptions, TaskScores } from "./tasks/options.js";

export type { Likelihood } from "./tasks/ask.js";
export type { TaskDefinition } from "./tasks/definition.js";
export type { Accuracy, Flips } from "./tasks/figures.js";
export type {
  AnswerStore,
  EvaluateTasksEvent,
  EvaluateTasksOptions,
  TaskScore,
  TaskScores,
} from "./tasks/options.js";
export type { TaskMetric } from "./tasks/task.js";

/**
 * Zero-shot accuracy on tasks, by the rules of lm-evaluation-harness: of several continuations the one that
 * the model finds likeliest is its answer; a single one is right where the model would have written it.
 * Items run together, and what they begin with runs once.
 *
 * @throws PenjingError (from the iteration or `result()`) for a task that is not known, data that is not
 *   there or not of the task, or a model whose activations overflow
 */
export function evaluateTasks(options: EvaluateTasksOptions): Run<EvaluateTasksEvent, TaskScores> {
  return new Run(steps(options));
}

async function* steps(
  options: EvaluateTasksOptions,
): AsyncGenerator<EvaluateTasksEvent, TaskScores, void> {
  // Loaded when it is called for, as compression is.
  const { taskSteps } = await import("./tasks/evaluator.js");
  return yield* taskSteps(options);
}
