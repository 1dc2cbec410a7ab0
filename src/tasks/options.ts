import type { ServedOperation } from "../backend.js";
import type { BackendOptions } from "../backends/lease.js";
import type { Checkpoint } from "../checkpoint/checkpoint.js";
import type { TokenizerOptions } from "../checkpoint/overlay.js";
import type { BosMode } from "../models/bos.js";
import type { OpenModel } from "../models/open.js";
import type { Folder } from "../platform/files.js";
import type { PluginOptions } from "../plugin.js";
import type { Accuracy } from "./figures.js";
import type { TaskMetric } from "./task.js";

export interface EvaluateTasksOptions extends BackendOptions, PluginOptions, TokenizerOptions {
  /** A model folder, a .safetensors or .gguf file, a name on the hub, an open checkpoint or an open model. */
  readonly model: string | Checkpoint | OpenModel;
  /** Such as "piqa". @default all five: piqa, winogrande, hellaswag, arc_easy, arc_challenge */
  readonly tasks?: readonly string[] | undefined;
  /** The folder with the tasks' JSON Lines, in it or one folder below. */
  readonly data: string | Folder;
  /** Rows of each task at most, from the first on. @default all */
  readonly limit?: number | undefined;
  /**
   * Begin each context with the model's BOS token: "always", "never", or "auto", where the tokenizer adds
   * one.
   *
   * @default "auto"
   */
  readonly bos?: BosMode | undefined;
  readonly signal?: AbortSignal | undefined;
}

export type EvaluateTasksEvent =
  | {
      readonly type: "progress";
      readonly task: string;
      /** Items of the task that are answered, of so many. */
      readonly done: number;
      readonly items: number;
      /** Share of the tokens of all tasks that went through, in [0, 1]. */
      readonly fraction: number;
      /** Of what the task reports, so far. */
      readonly accuracy: number;
    }
  | { readonly type: "note"; readonly where: string; readonly message: string };

export interface TaskScore {
  readonly task: string;
  readonly items: number;
  /** What papers report of the task. */
  readonly metric: TaskMetric;
  readonly accuracies: Partial<Readonly<Record<TaskMetric, Accuracy>>>;
  /** Sums of each item's choices, in nats. */
  readonly logLikelihoods: readonly (readonly number[])[];
  /** The right choice of each item. */
  readonly gold: readonly number[];
  /** Requests that lost the beginning of their context, as they are longer than the model's. */
  readonly cut: number;
}

export interface TaskScores {
  readonly tasks: readonly TaskScore[];
  /** Mean of what the tasks report, as the papers have it. */
  readonly mean: number;
  /** Tokens that went through the model, and those that each request alone would have taken. */
  readonly tokens: number;
  readonly tokensAlone: number;
  readonly backend: string;
  /** Which backend served what, and why. */
  readonly served: readonly ServedOperation[];
  readonly seconds: number;
}
