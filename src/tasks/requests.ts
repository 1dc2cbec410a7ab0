/** What a model is asked: tokens, and which of them are scored. */
import type { Tokenizer } from "../checkpoint/tokenizer.js";
import { PenjingError } from "../errors.js";
import { quote } from "../quote.js";
import type { TaskChoice } from "./task.js";

/** One choice as tokens. */
export interface ChoiceRequest {
  /** Context and continuation. */
  readonly ids: Int32Array;
  /** The first that is scored; at least 1. */
  readonly first: number;
  /** Tokens of the context that did not fit. */
  readonly cut: number;
}

export interface RequestOptions {
  /** The token in front of every context. @default none */
  readonly bosId: number | undefined;
  /** What an empty context begins with, where there is no BOS. */
  readonly emptyId: number | undefined;
  /** Tokens that the model takes. */
  readonly most: number;
}

/**
 * Tokens as lm-evaluation-harness has them: trailing spaces of the context move to the continuation, whole
 * and context are encoded, and what the whole has behind as many tokens as the context is scored. What is
 * too long loses its beginning.
 */
export function requestOf(
  tokenizer: Pick<Tokenizer, "encode">,
  { context: given, continuation: text }: TaskChoice,
  { bosId, emptyId, most }: RequestOptions,
): ChoiceRequest {
  const context = given.replace(/\s+$/u, "");
  const continuation = `${given.slice(context.length)} ${text}`;
  const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });
  const begin = bosId ?? (context === "" ? emptyId : undefined);
  if (context === "" && begin === undefined) {
    throw new PenjingError(
      "tokenizer.json",
      "it names neither a BOS nor an EOS token, one of which stands where a context is empty; take the model's own tokenizer.",
    );
  }
  const front = begin === undefined ? [] : [begin];
  const whole = [...front, ...encode(context + continuation)];
  const scored = Math.max(1, front.length + encode(context).length);
  if (whole.length - scored > most) {
    throw new PenjingError(
      "model",
      `it takes ${most} tokens, and the continuation ${quote(text)} has ${whole.length - scored}; leave that row out.`,
    );
  }
  // The last token predicts nothing that is asked for.
  const cut = Math.max(0, whole.length - (most + 1));
  return { ids: Int32Array.from(whole.slice(cut)), first: Math.max(1, scored - cut), cut };
}
