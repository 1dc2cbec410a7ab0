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
import { BACKEND_ARGUMENTS, type BackendOptions } from "./backends/lease.js";
import type { ChatMessage } from "./checkpoint/chat-template.js";
import type { Checkpoint } from "./checkpoint/checkpoint.js";
import type { TokenizerOptions } from "./checkpoint/overlay.js";
import { PenjingError } from "./errors.js";
import type { Activations } from "./forms/integer.js";
import { Continuation, type GeneratedText } from "./generate/continuation.js";
import { generateTexts, type HowGenerated, howGenerated, type Note } from "./generate/texts.js";
import { ACTIVATIONS } from "./models/activations.js";
import { BOS, type BosMode } from "./models/bos.js";
import { KV_CACHE, type KvCache } from "./models/layers/key-value-cache.js";
import { MODEL, type OpenModel } from "./models/open.js";
import { promptIdsOf } from "./models/prompt-ids.js";
import type { PluginOptions } from "./plugin.js";
import { quote } from "./quote.js";
import { Run } from "./run.js";
import { checkSampling, type SamplingOptions } from "./sample.js";

/** Tokens to generate at most, unless asked otherwise. */
export const MOST_NEW = 256;

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

/** Whether a value is messages. */
export function isConversation(value: unknown): value is readonly ChatMessage[] {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.every((one) => typeof one?.role === "string" && typeof one.content === "string")
  );
}

const MESSAGES: Argument = {
  what: "a list of messages, each with a role and a content that are texts",
  fits: isConversation,
};

export const GENERATE_ARGUMENTS: Arguments<GenerateOptions> = {
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
  | Note;

export interface Generation extends GeneratedText, HowGenerated {}

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
  checkArguments("generate", options, GENERATE_ARGUMENTS);
  checkPrompt(options);
  checkSampling(options);
  checkCounts(options);
  const { messages, maxNewTokens = MOST_NEW, seed = 0 } = options;
  return yield* generateTexts(
    { ...options, maxNewTokens },
    {
      atOnce: 1,
      begin: async (model) => {
        return [new Continuation(model.tokenizer, await promptIdsOf(model, options), seed)];
      },
      tell: ({ id, added: text }) => [{ type: "token", id, text } as const],
      end: (model, [text], clock) => ({
        ...text.result(messages !== undefined),
        ...howGenerated(model, text.ids.length, clock),
      }),
    },
  );
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
export function checkCounts({
  maxNewTokens = 0,
  seed = 0,
}: Pick<GenerateOptions, "maxNewTokens" | "seed">): void {
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
