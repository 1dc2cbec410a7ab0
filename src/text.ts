import type { Tokenizer } from "./checkpoint/tokenizer.js";
import { PenjingError } from "./errors.js";
import { pause, TURN } from "./run.js";

/** Share of unknown tokens from which a text is taken to be in the wrong language or encoding. */
export const UNKNOWN_LIMIT = 0.1;

/**
 * Refuses a text that the tokenizer hardly knows.
 *
 * @throws PenjingError when more than UNKNOWN_LIMIT of the ids are the unknown token
 */
export function refuseUnknown(where: string, tokenizer: Tokenizer, ids: Int32Array): void {
  const unknown = tokenizer.countUnknown(ids);
  if (unknown <= UNKNOWN_LIMIT * ids.length) return;
  throw new PenjingError(
    where,
    `${unknown} of the text's ${ids.length} tokens are unknown to the model's tokenizer, more than ${UNKNOWN_LIMIT * 100}%; give a UTF-8 text in a language that the model was trained on.`,
  );
}

/** How far the encoding of a long text is. */
export interface TokenizeEvent {
  readonly type: "tokenize";
  /** Characters done. */
  readonly done: number;
  readonly characters: number;
}

/** Milliseconds between events. */
const EVENTS = 250;

export interface EncodeTextOptions {
  /** Ids that suffice: no more of the text is encoded than these take. @default all */
  readonly wanted?: number | undefined;
  /** Add what the tokenizer puts around a text. @default false */
  readonly addSpecialTokens?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Token ids of a text of any length. Every 40 ms the signal is seen.
 *
 * @throws the signal's reason when it was aborted
 */
export async function* encodeText(
  tokenizer: Pick<Tokenizer, "encodeSteps">,
  text: string,
  { wanted = Number.POSITIVE_INFINITY, addSpecialTokens, signal }: EncodeTextOptions = {},
): AsyncGenerator<TokenizeEvent, Int32Array, void> {
  const steps = tokenizer.encodeSteps(text, { addSpecialTokens });
  let turn = performance.now();
  let told = turn;
  for (let step = steps.next(); ; step = steps.next()) {
    if (step.done) return step.value.subarray(0, wanted);
    const { ids, done } = step.value;
    if (ids.length >= wanted) return Int32Array.from(ids.slice(0, wanted));
    const now = performance.now();
    if (now - turn < TURN) continue;
    if (now - told >= EVENTS) {
      yield { type: "tokenize", done, characters: text.length };
      told = now;
    }
    await pause(signal);
    turn = performance.now();
  }
}
