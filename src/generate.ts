import {
  ANY,
  type Argument,
  type Arguments,
  BYTES,
  checkArguments,
  FLAG,
  FOLDER,
  NUMBER,
  SIGNAL,
  TEXT,
} from "./arguments.js";
import type { ServedOperation } from "./backend.js";
import { BACKEND_ARGUMENTS, type BackendOptions } from "./backends/lease.js";
import type { ChatMessage } from "./checkpoint/chat-template.js";
import type { Checkpoint } from "./checkpoint/checkpoint.js";
import type { TokenizerOptions } from "./checkpoint/overlay.js";
import type { Tokenizer } from "./checkpoint/tokenizer.js";
import { PenjingError } from "./errors.js";
import type { Activations } from "./forms/integer.js";
import {
  ACTIVATIONS,
  activationsOf,
  checkActivations,
  type RoundedActivations,
} from "./models/activations.js";
import { BOS, type BosMode } from "./models/bos.js";
import { KV_CACHE, type KvCache } from "./models/layers/key-value-cache.js";
import {
  MODEL,
  type OpenModel,
  openingNotes,
  openRunning,
  type RunningModel,
  runningModel,
} from "./models/open.js";
import { promptIdsOf } from "./models/prompt-ids.js";
import type { PluginOptions } from "./plugin.js";
import { quote } from "./quote.js";
import { Random } from "./random.js";
import { pause, Run } from "./run.js";
import { checkSampling, type SamplingOptions, sample } from "./sample.js";

/** Tokens to generate at most, unless asked otherwise. */
const MOST_NEW = 256;

export interface GenerateOptions
  extends BackendOptions,
    PluginOptions,
    SamplingOptions,
    TokenizerOptions {
  /** A model folder, a .safetensors or .gguf file, a name on the hub, an open checkpoint or an open model. */
  readonly model: string | Checkpoint | OpenModel;
  /** Text to continue. */
  readonly prompt?: string | undefined;
  /**
   * In place of a prompt: a conversation that the model answers, put into the form that it was trained
   * on by its chat template. The last message is the user's.
   */
  readonly messages?: readonly ChatMessage[] | undefined;
  /**
   * Put the model's BOS token in front: "always", "never" (and nothing else around the prompt), or
   * "auto", as tokenizer.json and tokenizer_config.json say. In front of `messages` the chat template
   * puts what belongs there, and "auto" is the one choice.
   *
   * @default "auto"
   */
  readonly bos?: BosMode | undefined;
  /** Tokens to generate at most; fewer when the model ends the text or its context is full. @default 256 */
  readonly maxNewTokens?: number | undefined;
  /** Go on after an end-of-text token. @default false */
  readonly ignoreEos?: boolean | undefined;
  /**
   * Bytes of memory that the model may take with what runs it; one that would take more is refused before it is
   * loaded. Models that are open already do not count, and on a GPU it means nothing.
   *
   * @default what the machine, or the container, has
   */
  readonly maxMemory?: number | undefined;
  /**
   * How activations are multiplied by quantized weights: "int8" rounds them to int8 and multiplies the codes, as
   * runtimes do, where the weights are on a grid with groups of whole runs of 32 columns and the backend has
   * kernels for it; "float" multiplies the weights as floats. An open model has its own.
   *
   * @default "int8"
   */
  readonly activations?: Activations | undefined;
  /**
   * How keys and values of the text so far are held: "int8" rounds them to int8, with a scale for each head
   * of a token's values and each 32 columns of its keys, in about a quarter of the memory; "float" holds them
   * as float32. WebGPU has no kernels for int8: it holds floats, and a note says so.
   *
   * @default "float"
   */
  readonly kvCache?: KvCache | undefined;
  /** Seed of the draws when temperature is above 0. @default 0 */
  readonly seed?: number | undefined;
  /** A backend that is open, or the name of one; an open model has its own. @default "auto" */
  readonly backend?: BackendOptions["backend"] | undefined;
  readonly signal?: AbortSignal | undefined;
}

const MESSAGES: Argument = {
  what: "a list of messages, each with a role and a content that are texts",
  fits: (value) =>
    Array.isArray(value) &&
    value.length > 0 &&
    value.every((one) => typeof one?.role === "string" && typeof one.content === "string"),
};

const ARGUMENTS: Arguments<GenerateOptions> = {
  model: MODEL,
  prompt: TEXT,
  messages: MESSAGES,
  bos: BOS,
  maxNewTokens: NUMBER,
  ignoreEos: FLAG,
  temperature: NUMBER,
  topK: NUMBER,
  topP: NUMBER,
  seed: NUMBER,
  maxMemory: BYTES,
  activations: ACTIVATIONS,
  kvCache: KV_CACHE,
  plugins: ANY,
  tokenizer: FOLDER,
  ...BACKEND_ARGUMENTS,
  signal: SIGNAL,
};

export type GenerateEvent =
  | {
      readonly type: "token";
      readonly id: number;
      /** What this token adds to the text; the bytes of a character come together, or at the end. */
      readonly text: string;
    }
  | { readonly type: "note"; readonly where: string; readonly message: string };

export interface Generation extends RoundedActivations {
  /** The prompt and what was generated, without special tokens; of `messages` the answer alone. */
  readonly text: string;
  /** Ids of the prompt or the messages, with what was put around. */
  readonly promptIds: Int32Array;
  /** The BOS token that was put in front of the prompt; absent when none was. */
  readonly bosId?: number | undefined;
  /** Ids that were generated, an end-of-text token included. */
  readonly ids: Int32Array;
  readonly stoppedBy: "end of text" | "length" | "context";
  /** Generated tokens per second, the prompt's pass left out. */
  readonly tokensPerSecond: number;
  readonly backend: string;
  /** "int8" where keys and values were held as int8; else absent. */
  readonly kvCache?: "int8" | undefined;
  /** Which backend served what, and why. */
  readonly served: readonly ServedOperation[];
}

/**
 * Continues a text, or answers messages, token by token with a key-value cache.
 *
 * @throws PenjingError (from the iteration or `result()`) for a prompt that fills the context, messages
 *   for a model without a chat template, a sampling option out of range, or a model whose activations
 *   overflow
 */
export function generate(options: GenerateOptions): Run<GenerateEvent, Generation> {
  return new Run(steps(options));
}

async function* steps(options: GenerateOptions): AsyncGenerator<GenerateEvent, Generation, void> {
  checkArguments("generate", options, ARGUMENTS);
  checkPrompt(options);
  checkSampling(options);
  checkCounts(options);
  const { model: source } = options;
  const running = runningModel(source);
  checkActivations(options.activations, running);
  let own = running
    ? undefined
    : await openRunning(source as string | Checkpoint, {
        ...options,
        activations: options.activations ?? "int8",
        cacheTokens: options.maxNewTokens ?? MOST_NEW,
      });
  const model = own ?? running!;
  try {
    yield* openingNotes(model);
    const { promptIds, bosId } = await promptIdsOf(model, options);
    const state: Continuation = {
      promptIds,
      bosId,
      ids: [],
      answer: "",
      text: new TextStream(model.tokenizer, promptIds),
      random: new Random(options.seed ?? 0),
      kvCache: "float",
      seconds: 0,
    };
    for (;;) {
      try {
        const stoppedBy = yield* continueText(own ?? model, options, state);
        return describe(own ?? model, options, state, stoppedBy);
      } catch (error) {
        if (!own) throw error;
        own = await own.moveAfter(error);
        yield { type: "note", where: "backend", message: own.notes[own.notes.length - 1] };
      }
    }
  } finally {
    await own?.close();
  }
}

/** How far a generation is: all that it needs to go on with another copy of the model. */
interface Continuation {
  readonly promptIds: Int32Array;
  readonly bosId: number | undefined;
  readonly ids: number[];
  /** What was generated so far. */
  answer: string;
  readonly text: TextStream;
  readonly random: Random;
  /** How the last cache held keys and values. */
  kvCache: KvCache;
  /** Seconds of generating, the passes over what was there before left out. */
  seconds: number;
}

function describe(
  { tokenizer, backendName, decoder, served }: RunningModel,
  { messages }: GenerateOptions,
  { promptIds, bosId, ids, answer, seconds, kvCache }: Continuation,
  stoppedBy: Generation["stoppedBy"],
): Generation {
  return {
    text: messages ? answer : tokenizer.decode([...promptIds, ...ids], { skipSpecialTokens: true }),
    promptIds,
    ...(bosId !== undefined && { bosId }),
    ids: Int32Array.from(ids),
    stoppedBy,
    tokensPerSecond: seconds > 0 ? ids.length / seconds : 0,
    backend: backendName,
    ...activationsOf(decoder),
    ...(kvCache === "int8" && { kvCache }),
    served: served(),
  };
}

/** @throws PenjingError unless there is either a prompt or messages */
function checkPrompt({ prompt, messages, bos = "auto" }: GenerateOptions): void {
  if ((prompt === undefined) === (messages === undefined)) {
    const what =
      prompt === undefined ? "prompt is missing" : "prompt and messages exclude one another";
    throw new PenjingError(
      "generate",
      `${what}; give the text to continue, or messages to answer.`,
    );
  }
  if (messages && bos !== "auto") {
    throw new PenjingError(
      "bos",
      `it is ${quote(bos)}, but before messages the chat template puts what belongs there; leave it out.`,
    );
  }
}

/** @throws PenjingError for a number of tokens or a seed that is not whole */
function checkCounts({ maxNewTokens = 0, seed = 0 }: GenerateOptions): void {
  if (!Number.isSafeInteger(maxNewTokens) || maxNewTokens < 0) {
    throw new PenjingError(
      "maxNewTokens",
      `it is ${maxNewTokens}, must be a whole number of at least 0.`,
    );
  }
  if (!Number.isSafeInteger(seed)) {
    throw new PenjingError("seed", `it is ${seed}, must be a whole number.`);
  }
}

async function* continueText(
  model: RunningModel,
  options: GenerateOptions,
  state: Continuation,
): AsyncGenerator<GenerateEvent, Generation["stoppedBy"], void> {
  const { backend, decoder, spec, tokenizer } = model;
  const { maxNewTokens = MOST_NEW, ignoreEos = false, signal } = options;
  const { promptIds, ids, text, random } = state;
  const seen = Int32Array.from([...promptIds, ...ids]);
  const capacity = Math.min(spec.context, promptIds.length + maxNewTokens);
  const cache = decoder.cache(capacity, options.kvCache);
  state.kvCache = cache.kind;
  const logits = backend.zeros([1, spec.vocabSize]);
  const ends = new Set([...spec.eosIds, ...tokenizer.eosIds]);
  const likeliest = backend.zeros([1, 2]);
  const run = (tokens: Int32Array) =>
    decoder.pace(decoder.logitSteps(tokens, logits, cache), signal);
  /** A token's id and its logit; without a draw, only these are read from the backend. */
  const nextToken = async (): Promise<Iterable<number>> => {
    if (!options.temperature) {
      backend.ops.argmax(logits, likeliest);
      return backend.read(likeliest);
    }
    const values = (await backend.read(logits)) as Float32Array;
    const id = sample(values, options, random);
    return [id, values[id]];
  };
  /** Why nothing follows a token, if so. */
  const stop = (id: number): Generation["stoppedBy"] | undefined => {
    if (ends.has(id) && !ignoreEos) return "end of text";
    if (cache.length === spec.context) return "context";
    return ids.length === maxNewTokens ? "length" : undefined;
  };
  let started = 0;
  try {
    if (options.kvCache === "int8" && cache.kind === "float") {
      const message = `${backend.name} has no kernels for int8 keys and values, and holds them as float32; give backend "wasm" for int8.`;
      yield { type: "note", where: "kvCache", message };
    }
    for (let start = 0; start < seen.length; start += decoder.maxTokens) {
      await pause(signal);
      await run(seen.subarray(start, start + decoder.maxTokens));
    }
    started = performance.now();
    while (ids.length < maxNewTokens) {
      await pause(signal);
      const [id, value] = await nextToken();
      if (!Number.isFinite(value)) {
        throw new PenjingError(
          model.path,
          `its logits are not numbers after ${cache.length} tokens: its activations exceed float32; the checkpoint is damaged, fetch or compress it again.`,
        );
      }
      ids.push(id);
      const stoppedBy = stop(id);
      const added = text.add(id) + (stoppedBy ? text.end() : "");
      state.answer += added;
      yield { type: "token", id, text: added };
      if (stoppedBy) return stoppedBy;
      await run(Int32Array.of(id));
    }
    return "length";
  } finally {
    if (started > 0) state.seconds += (performance.now() - started) / 1000;
    cache.dispose();
    logits.dispose();
    likeliest.dispose();
  }
}

/** Tokens that are decoded together with a new one, for tokenizers that look at neighbours. */
const NEIGHBOURS = 8;

/** What each token adds to a text, without decoding the whole text anew for each. */
export class TextStream {
  private readonly ids: number[];
  /** The first id that is decoded together with the next one. */
  private first = 0;
  /** What is decoded from there and was given out. */
  private shown = "";

  constructor(
    private readonly tokenizer: Pick<Tokenizer, "decode">,
    prompt: Int32Array,
  ) {
    this.ids = Array.from(prompt);
    this.moveOn();
  }

  private decode(): string {
    return this.tokenizer.decode(this.ids.slice(this.first), { skipSpecialTokens: true });
  }

  /** Leaves out what no new token can change. */
  private moveOn(): void {
    this.first = Math.max(this.first, this.ids.length - NEIGHBOURS);
    this.shown = settled(this.decode());
  }

  add(id: number): string {
    this.ids.push(id);
    const added = settled(this.decode()).slice(this.shown.length);
    this.moveOn();
    return added;
  }

  /** What was held back although nothing follows. */
  end(): string {
    return this.decode().slice(this.shown.length);
  }
}

/**
 * A text without a replacement character at its end: that may stand for a character whose bytes are
 * not all there yet, which are always one replacement character together.
 */
function settled(text: string): string {
  return text.endsWith("\uFFFD") ? text.slice(0, -1) : text;
}
