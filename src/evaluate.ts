import {
  ANY,
  type Arguments,
  checkArguments,
  FOLDER,
  NUMBER,
  required,
  SIGNAL,
  TEXTS,
} from "./arguments.js";
import type { Backend, ServedOperation } from "./backend.js";
import { BACKEND_ARGUMENTS, type BackendOptions } from "./backends/lease.js";
import type { Checkpoint } from "./checkpoint/checkpoint.js";
import type { TokenizerOptions } from "./checkpoint/overlay.js";
import type { Dataset } from "./datasets/dataset.js";
import { gatherText } from "./datasets/gather.js";
import { PenjingError } from "./errors.js";
import { BOS, type BosMode, windowBos, withBos } from "./models/bos.js";
import {
  LONGEST_RUN,
  MODEL,
  type OpenModel,
  openRunning,
  type RunningModel,
  refuseForeignIds,
  runningModel,
} from "./models/open.js";
import type { PluginOptions } from "./plugin.js";
import { pause, Run } from "./run.js";
import type { Work } from "./steps.js";
import type { Tensor } from "./tensor.js";
import { encodeText, refuseUnknown, type TokenizeEvent } from "./text.js";

/** Most logits that are held at a time: 64 MiB of them. */
const LOGIT_ELEMENTS = 2 ** 24;

export interface EvaluateOptions extends BackendOptions, PluginOptions, TokenizerOptions {
  /** A model folder, a .safetensors or .gguf file, a name on the hub, an open checkpoint or an open model. */
  readonly model: string | Checkpoint | OpenModel;
  /** The text to score, or a dataset of texts or conversations (`openDataset`). */
  readonly text: string | Dataset;
  /** Tokens in each window. @default the model's context, at most 2048 */
  readonly window?: number | undefined;
  /**
   * Begin each window with the model's BOS token, which counts as one of its tokens and is not
   * scored: "always", "never", or "auto", for families whose results are wrong without.
   *
   * @default "auto"
   */
  readonly bos?: BosMode | undefined;
  /** A backend that is open, or the name of one; an open model has its own. @default "auto" */
  readonly backend?: BackendOptions["backend"] | undefined;
  readonly signal?: AbortSignal | undefined;
}

const ARGUMENTS: Arguments<EvaluateOptions> = {
  model: MODEL,
  text: required(TEXTS, "the text to score, or a dataset of openDataset"),
  window: NUMBER,
  bos: BOS,
  plugins: ANY,
  tokenizer: FOLDER,
  ...BACKEND_ARGUMENTS,
  signal: SIGNAL,
};

export type EvaluateEvent =
  | TokenizeEvent
  | {
      readonly type: "progress";
      /** Windows scored so far. */
      readonly done: number;
      readonly windows: number;
      /** Perplexity over those. */
      readonly perplexity: number;
    }
  | { readonly type: "note"; readonly where: string; readonly message: string };

export interface Perplexity {
  /** exp(nll) */
  readonly perplexity: number;
  /** Mean negative log-likelihood of the predicted tokens, in nats. */
  readonly nll: number;
  /** Predicted tokens: windows * (window - 1). */
  readonly tokens: number;
  readonly windows: number;
  readonly window: number;
  /** The BOS token that each window began with; absent when none was added. */
  readonly bosId?: number | undefined;
  /** Tokens of the text that the model does not know. */
  readonly unknownTokens: number;
  /** Hex SHA-256 of the whole text, as it was scored. */
  readonly textSha256: string;
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
  const asked = options.window;
  if (asked !== undefined && !(Number.isSafeInteger(asked) && asked >= 2)) {
    throw new PenjingError("window", `it is ${asked}, must be a whole number of at least 2.`);
  }
  const running = runningModel(source);
  const whole = { ...options, maxTokens: asked };
  let own = running ? undefined : await openRunning(source as string | Checkpoint, whole);
  const model = own ?? running!;
  try {
    for (const message of model.modelNotes) yield { type: "note", where: "model", message };
    for (const message of model.notes) yield { type: "note", where: "backend", message };
    const { spec, tokenizer, decoder } = model;
    const window = asked ?? Math.min(spec.context, LONGEST_RUN);
    if (window > spec.context) {
      throw new PenjingError(
        "window",
        `it is ${window}, must be at most the model's context of ${spec.context}.`,
      );
    }
    if (window > decoder.maxTokens) {
      throw new PenjingError(
        "window",
        `it is ${window}, but the model was opened for runs of ${decoder.maxTokens} tokens; open it with maxTokens ${window}.`,
      );
    }
    const { text, sha256 } = await gatherText(options.text, model.folder, { signal });
    if (text.trim() === "") {
      throw new PenjingError("text", "the text is empty; give a text file with words in it.");
    }
    const bosId = windowBos(options.bos, model);
    const encoded = yield* encodeText(tokenizer, text, { signal });
    const ids = bosId === undefined ? encoded : withBos(encoded, window, bosId);
    refuseForeignIds(ids, spec);
    refuseUnknown("text", tokenizer, encoded);
    const sum: LossSum = { windows: 0, total: 0 };
    let score: Score | undefined;
    while (!score) {
      try {
        score = yield* scoreWindows(own ?? model, ids, window, signal, sum);
      } catch (error) {
        if (!own) throw error;
        own = await own.moveAfter(error);
        yield { type: "note", where: "backend", message: own.notes[own.notes.length - 1] };
      }
    }
    const last = own ?? model;
    return {
      ...score,
      ...(bosId !== undefined && { bosId }),
      unknownTokens: tokenizer.countUnknown(encoded),
      textSha256: sha256,
      backend: last.backendName,
      served: last.served(),
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    await own?.close();
  }
}

type Score = Pick<Perplexity, "perplexity" | "nll" | "tokens" | "windows" | "window">;

/** Windows scored so far and their losses: scoring goes on from there. */
interface LossSum {
  windows: number;
  total: number;
}

/** Scores token ids window by window. */
export async function* scoreWindows(
  { backend, decoder, spec }: Pick<RunningModel, "backend" | "decoder" | "spec">,
  ids: Int32Array,
  window: number,
  signal?: AbortSignal,
  scored: LossSum = { windows: 0, total: 0 },
): AsyncGenerator<EvaluateEvent, Score, void> {
  const windows = Math.floor(ids.length / window);
  if (windows === 0) {
    throw new PenjingError(
      "text",
      `the text has ${ids.length} tokens, fewer than one window of ${window}; give a longer text or a smaller \`window\`.`,
    );
  }
  // The logits of a long window over a large vocabulary would take gigabytes: a few rows at a time.
  const rows = Math.min(window - 1, Math.max(1, Math.floor(LOGIT_ELEMENTS / spec.vocabSize)));
  const logits = backend.zeros([rows, spec.vocabSize]);
  const targets = backend.zeros([window - 1, 1], "i32");
  const losses = backend.zeros([window - 1, 1]);
  const lossSteps = function* (tokens: Int32Array): Work {
    yield* decoder.forward(tokens);
    backend.write(targets, tokens.slice(1));
    for (let start = 0; start < window - 1; start += rows) {
      const part = (tensor: Tensor, from = start) =>
        backend.rows(tensor, from, Math.min(rows, window - 1 - start));
      yield* decoder.project(start, part(logits, 0));
      backend.ops.crossEntropy(part(logits, 0), part(targets), part(losses));
      yield;
    }
  };
  try {
    for (let i = scored.windows; i < windows; i++) {
      await pause(signal);
      const tokens = ids.subarray(i * window, (i + 1) * window);
      await decoder.pace(lossSteps(tokens), signal);
      scored.total += await sum(backend, losses);
      if (!Number.isFinite(scored.total)) {
        throw new PenjingError(
          "model",
          `window ${i + 1} of ${windows} has a loss that is not a number: its activations exceed float32; the checkpoint is damaged, fetch or compress it again.`,
        );
      }
      scored.windows = i + 1;
      const mean = scored.total / ((i + 1) * (window - 1));
      const perplexity = Math.exp(mean);
      if (!Number.isFinite(perplexity)) {
        throw new PenjingError(
          "model",
          `after window ${i + 1} of ${windows} its loss is ${mean.toPrecision(4)} nats a token, of which the perplexity is no number any more; the checkpoint is damaged, fetch or compress it again.`,
        );
      }
      yield { type: "progress", done: i + 1, windows, perplexity };
    }
  } finally {
    for (const tensor of [logits, targets, losses]) tensor.dispose();
  }
  const tokens = windows * (window - 1);
  const nll = scored.total / tokens;
  return { perplexity: Math.exp(nll), nll, tokens, windows, window };
}

async function sum(backend: Backend, tensor: Tensor): Promise<number> {
  return ((await backend.read(tensor)) as Float32Array).reduce((total, x) => total + x, 0);
}
