import {
  ANY,
  type Arguments,
  BYTES,
  checkArguments,
  FLAG,
  FOLDER,
  NUMBER,
  required,
  SIGNAL,
  TEXTS,
} from "./arguments.js";
import type { Backend, ServedOperation } from "./backend.js";
import { BACKEND_ARGUMENTS, type BackendOptions } from "./backends/lease.js";
import { type Checkpoint, openCheckpoint } from "./checkpoint/checkpoint.js";
import type { TokenizerOptions } from "./checkpoint/overlay.js";
import type { Dataset } from "./datasets/dataset.js";
import { PenjingError } from "./errors.js";
import {
  type BlockEvent,
  noWindows,
  type Score,
  scoreWindows,
  type WindowEvent,
} from "./evaluate/score.js";
import { checkWindow, readEvaluation, type TextFacts, windowOf } from "./evaluate/text.js";
import type { Activations } from "./forms/integer.js";
import {
  ACTIVATIONS,
  activationsOf,
  checkActivations,
  type RoundedActivations,
} from "./models/activations.js";
import { BOS, type BosMode } from "./models/bos.js";
import {
  type Holding,
  LONGEST_RUN,
  MODEL,
  mayBeTooLarge,
  type OpenModel,
  type OpenRunningOptions,
  openingNotes,
  openRunning,
  type RunningModel,
  runningModel,
  SECOND_MODEL,
} from "./models/open.js";
import { readLargeModel, type StoredModel } from "./models/stored.js";
import type { StoredBits } from "./models/stored-bits.js";
import type { PluginOptions } from "./plugin.js";
import { Run } from "./run.js";
import type { TokenizeEvent } from "./text.js";

export interface EvaluateOptions extends BackendOptions, PluginOptions, TokenizerOptions {
  /** A model folder, a .safetensors or .gguf file, a name on the hub, an open checkpoint or an open model. */
  readonly model: string | Checkpoint | OpenModel;
  /** The text to score, or a dataset of texts or conversations (`openDataset`). */
  readonly text: string | Dataset;
  /**
   * The model that this one was made from, to compare the two token by token; both are in memory unless
   * `lowMemory` is set. Their tokenizers must agree.
   *
   * @default none
   */
  readonly against?: string | Checkpoint | OpenModel | undefined;
  /** Tokens in each window. @default the model's context, at most 2048 */
  readonly window?: number | undefined;
  /**
   * Begin each window with the model's BOS token, which counts as one of its tokens and is not
   * scored: "always", "never", or "auto", for families whose results are wrong without.
   *
   * @default "auto"
   */
  readonly bos?: BosMode | undefined;
  /**
   * Hold the weights of one block at a time, of either model: they are read again for every 256 MiB of
   * activations, and the results are the same. Embedding and head, and models that are open already,
   * stay in memory.
   *
   * @default false
   */
  readonly lowMemory?: boolean | undefined;
  /**
   * Bytes of memory that the models may take with what scores them. Where their weights would take more, they
   * are held as with `lowMemory`, with as many activations as there is room for; what has no room then is
   * refused before it is loaded. Models that are open already do not count, and on a GPU it means nothing.
   *
   * @default what the machine, or the container, has, and 256 MiB of activations
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
  /** A backend that is open, or the name of one; an open model has its own. @default "auto" */
  readonly backend?: BackendOptions["backend"] | undefined;
  readonly signal?: AbortSignal | undefined;
}

const ARGUMENTS: Arguments<EvaluateOptions> = {
  model: MODEL,
  text: required(TEXTS, "the text to score, or a dataset of openDataset"),
  against: SECOND_MODEL,
  window: NUMBER,
  bos: BOS,
  lowMemory: FLAG,
  maxMemory: BYTES,
  activations: ACTIVATIONS,
  plugins: ANY,
  tokenizer: FOLDER,
  ...BACKEND_ARGUMENTS,
  signal: SIGNAL,
};

export type EvaluateEvent =
  | TokenizeEvent
  | BlockEvent
  | WindowEvent
  | { readonly type: "note"; readonly where: string; readonly message: string };

export interface Perplexity extends Score, TextFacts, RoundedActivations {
  /** Bits that the model's weights take where they are stored. */
  readonly bitsPerWeight: StoredBits;
  readonly backend: string;
  readonly served: readonly ServedOperation[];
  readonly seconds: number;
}

/**
 * Perplexity on contiguous windows without overlap: exp of the mean negative log-likelihood of
 * every token of a window but its first; the remainder is dropped.
 *
 * @throws PenjingError (from the iteration or `result()`) for a text shorter than one window, a
 *   window longer than the model's context, or a model whose activations overflow
 */
export function evaluatePerplexity(options: EvaluateOptions): Run<EvaluateEvent, Perplexity> {
  return new Run(steps(options));
}

async function* steps(options: EvaluateOptions): AsyncGenerator<EvaluateEvent, Perplexity, void> {
  const started = performance.now();
  checkArguments("evaluatePerplexity", options, ARGUMENTS);
  const { model: source, signal } = options;
  checkWindow(options.window);
  const running = runningModel(source);
  checkActivations(options.activations, running);
  const holder = new Holder(options);
  const whole = { ...options, maxTokens: options.window, hold: holder.hold };
  let own = running ? undefined : await openRunning(source as string | Checkpoint, whole);
  const model = own ?? running!;
  let other: Opened | undefined;
  try {
    yield* openingNotes(model);
    yield* holder.notes();
    const { spec, decoder } = model;
    const window = windowOf(spec, options.window);
    if (window > decoder.maxTokens) {
      throw new PenjingError(
        "window",
        `it is ${window}, but the model was opened for runs of ${decoder.maxTokens} tokens; open it with maxTokens ${window}.`,
      );
    }
    const { text, ids, facts } = yield* readEvaluation(options, model, signal);
    if (options.against !== undefined) {
      const others = { ...whole, activations: "float", maxTokens: window } as const;
      other = await openOther(options.against, others);
      yield* holder.notes();
      refuseOther(other.model, model, { text, window });
    }
    const scored = noWindows();
    let score: Score | undefined;
    while (!score) {
      try {
        const against = other?.model;
        score = yield* scoreWindows(own ?? model, ids, window, { signal, scored, against });
      } catch (error) {
        if (!own) throw error;
        own = await own.moveAfter(error);
        if (other) await other.moveAfter(error);
        yield { type: "note", where: "backend", message: own.notes[own.notes.length - 1] };
        yield* holder.notes();
      }
    }
    const last = own ?? model;
    return {
      ...score,
      bitsPerWeight: last.bits,
      ...facts,
      backend: last.backendName,
      ...activationsOf(last.decoder),
      served: last.served(),
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    await other?.close();
    await own?.close();
  }
}

/** Chooses how the weights of models are held which are opened here: of two in the same way. */
class Holder {
  private chosen: { readonly on: string; readonly holding: Holding } | undefined;
  private note: string | undefined;

  constructor(private readonly options: EvaluateOptions) {}

  readonly hold: NonNullable<OpenRunningOptions["hold"]> = async (model, backend, activations) => {
    if (this.chosen?.on !== backend.name) {
      this.chosen = { on: backend.name, holding: await this.choose(model, backend, activations) };
    }
    return this.chosen.holding;
  };

  private async choose(
    model: StoredModel,
    backend: Backend,
    activations: Activations,
  ): Promise<Holding> {
    const { model: source, against, lowMemory, maxMemory, threads, signal } = this.options;
    const other = runningModel(source) || runningModel(against) ? undefined : against;
    const isSmall = !mayBeTooLarge(model.spec, { maxMemory }, other === undefined ? 1 : 2);
    if (isSmall) return { lowMemory };
    const { chooseHolding } = await import("./evaluate/holding.js");
    const window = Math.min(this.options.window ?? LONGEST_RUN, model.spec.context);
    const asked = { window, lowMemory, maxMemory, activations, threads, signal };
    const opened = typeof other === "string" ? await openCheckpoint(other, { signal }) : undefined;
    try {
      const second = opened ?? (other as Checkpoint | undefined);
      const beside = second && (await readLargeModel(second, model.registry, signal));
      const models = beside ? [model, beside] : [model];
      const { note, ...holding } = await chooseHolding(models, backend, asked);
      this.note = note;
      return holding;
    } finally {
      await opened?.close();
    }
  }

  /** What is to be said of it, once. */
  *notes(): Generator<EvaluateEvent, void, void> {
    if (this.note !== undefined) yield { type: "note", where: "memory", message: this.note };
    this.note = undefined;
  }
}

/** Characters of the text for which both tokenizers must give the same. */
const COMPARED = 2 ** 16;

/** The model that another is compared with. */
interface Opened {
  readonly model: RunningModel;
  /** Takes it to wasm as well, where it stands on a GPU of its own. */
  moveAfter(error: unknown): Promise<void>;
  /** Closes it, unless the caller opened it. */
  close(): Promise<void>;
}

async function openOther(
  source: NonNullable<EvaluateOptions["against"]>,
  options: OpenRunningOptions,
): Promise<Opened> {
  const given = runningModel(source);
  const opened = given ?? (await openRunning(source as string | Checkpoint, options));
  const other = {
    model: opened,
    async moveAfter(error: unknown) {
      if (!given && other.model.backend.name === "webgpu") {
        other.model = await other.model.moveAfter(error);
      }
    },
    async close() {
      if (!given) await other.model.close();
    },
  };
  return other;
}

/** @throws PenjingError when two models cannot be compared token by token */
function refuseOther(
  other: RunningModel,
  model: RunningModel,
  { text, window }: { readonly text: string; readonly window: number },
): void {
  const refuse = (what: string): never => {
    throw new PenjingError(
      "against",
      `${other.path} ${what}; give the model that ${model.path} was made from.`,
    );
  };
  if (other === model) refuse("is the very model that is scored");
  if (other.spec.vocabSize !== model.spec.vocabSize) {
    refuse(
      `has a vocabulary of ${other.spec.vocabSize} tokens, and not of ${model.spec.vocabSize}`,
    );
  }
  if (other.decoder.maxTokens < window) {
    refuse(`takes at most ${other.decoder.maxTokens} tokens at a time`);
  }
  const others = other.tokenizer.encode(text.slice(0, COMPARED));
  const own = model.tokenizer.encode(text.slice(0, COMPARED));
  if (others.length === own.length && others.every((id, i) => id === own[i])) return;
  refuse("has another tokenizer, which cuts this text into other tokens");
}
