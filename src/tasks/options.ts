import type { ServedOperation } from "../backend.js";
import type { BackendOptions } from "../backends/lease.js";
import type { Checkpoint } from "../checkpoint/checkpoint.js";
import type { TokenizerOptions } from "../checkpoint/overlay.js";
import type { Activations } from "../forms/integer.js";
import type { RoundedActivations } from "../models/activations.js";
import type { BosMode } from "../models/bos.js";
import type { OpenModel } from "../models/open.js";
import type { ByteSource, Folder } from "../platform/files.js";
import type { PluginOptions } from "../plugin.js";
import type { Likelihood } from "./ask.js";
import type { TaskDefinition } from "./definition.js";
import type { Accuracy, Flips } from "./figures.js";
import type { TaskMetric } from "./task.js";

export interface EvaluateTasksOptions extends BackendOptions, PluginOptions, TokenizerOptions {
  /** A model folder, a .safetensors or .gguf file, a name on the hub, an open checkpoint or an open model. */
  readonly model: string | Checkpoint | OpenModel;
  /**
   * Such as "piqa", or tasks of one's own.
   *
   * @default all five: piqa, winogrande, hellaswag, arc_easy, arc_challenge
   */
  readonly tasks?: readonly (string | TaskDefinition)[] | undefined;
  /**
   * The folder with the JSON Lines or Parquet of tasks that are named, in it or one folder below.
   *
   * @default none, where `files` has all of them
   */
  readonly data?: string | Folder | undefined;
  /** The file of a task's rows, in place of one in `data`, by the task's name. @default none */
  readonly files?: Readonly<Record<string, string | Blob | ByteSource>> | undefined;
  /** Rows of each task at most, from the first on. @default all */
  readonly limit?: number | undefined;
  /** The model that this one was made from: which answers changed between the two. @default none */
  readonly against?: string | Checkpoint | OpenModel | undefined;
  /**
   * Begin each context with the model's BOS token: "always", "never", or "auto", where the tokenizer adds
   * one.
   *
   * @default "auto"
   */
  readonly bos?: BosMode | undefined;
  /**
   * Bytes of memory that the model may take with what runs it; one that would take more is refused before it is
   * loaded. Models that are open already do not count, and on a GPU it means nothing.
   *
   * @default what the machine, or the container, has
   */
  readonly maxMemory?: number | undefined;
  /**
   * How activations are multiplied by quantized weights: "float" multiplies the weights as floats, so that they
   * alone are judged; "int8" rounds activations to int8 and multiplies the codes, as runtimes do, where the weights
   * are on a grid with groups of whole runs of 32 columns and the backend has kernels for it. The model of
   * `against` is always run with "float", and an open model as it was opened.
   *
   * @default "float"
   */
  readonly activations?: Activations | undefined;
  /**
   * Where answers are kept, so that a run that was stopped goes on: a Map, or what has its `get` and `set`.
   * Keys tell the model, its arithmetic and the tokens that it is asked about.
   *
   * @default they are not kept
   */
  readonly answers?: AnswerStore | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What a model holds of continuations, by their keys. */
export interface AnswerStore {
  /** Both are awaited where they return a promise. */
  get(key: string): Likelihood | undefined | Promise<Likelihood | undefined>;
  set(key: string, likelihood: Likelihood): unknown;
}

export type EvaluateTasksEvent =
  | {
      readonly type: "progress";
      readonly task: string;
      /** Whether it is the model of `against` that is asked. */
      readonly against: boolean;
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
  /** exp of the mean of minus the log-likelihoods, of a task without choices. */
  readonly perplexity?: number | undefined;
  /** Sums of each item's choices, in nats. */
  readonly logLikelihoods: readonly (readonly number[])[];
  /** The right choice of each item. */
  readonly gold: readonly number[];
  /** Requests that lost the beginning of their context, as they are longer than the model's. */
  readonly cut: number;
  /** The other model's accuracies, and what changed, by what the task reports. */
  readonly against?: (Flips & Pick<TaskScore, "accuracies" | "perplexity">) | undefined;
}

export interface TaskScores extends RoundedActivations {
  readonly tasks: readonly TaskScore[];
  /** Mean of what the tasks report, as the papers have it. */
  readonly mean: number;
  /** The same of the other model. */
  readonly meanAgainst?: number | undefined;
  /** Tokens that went through the model, and those that each request alone would have taken. */
  readonly tokens: number;
  readonly tokensAlone: number;
  /** Choices whose likelihoods were known. */
  readonly known: number;
  readonly backend: string;
  /** Which backend served what, and why. */
  readonly served: readonly ServedOperation[];
  readonly seconds: number;
}
