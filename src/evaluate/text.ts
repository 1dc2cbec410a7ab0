/** The text of an evaluation, as windows of token ids. */
import type { Tokenizer } from "../checkpoint/tokenizer.js";
import type { Dataset } from "../datasets/dataset.js";
import { gatherText } from "../datasets/gather.js";
import { PenjingError } from "../errors.js";
import type { DecoderSpec } from "../model.js";
import { type BosMode, windowBos, withBos } from "../models/bos.js";
import { LONGEST_RUN, refuseForeignIds } from "../models/open.js";
import type { Folder } from "../platform/files.js";
import { encodeText, refuseUnknown, type TokenizeEvent } from "../text.js";

export interface EvaluationSource {
  /** The text to score, or a dataset of texts or conversations (`openDataset`). */
  readonly text: string | Dataset;
  /** Tokens in each window. @default the model's context, at most 2048 */
  readonly window?: number | undefined;
  /** Whether each window begins with a BOS token. @default "auto" */
  readonly bos?: BosMode | undefined;
}

/** What reads the text. */
export interface Reading {
  readonly spec: DecoderSpec;
  readonly folder: Folder;
  readonly tokenizer: Tokenizer;
}

/** What is said of a text that was scored. */
export interface TextFacts {
  /** The BOS token that each window began with; absent when none was added. */
  readonly bosId?: number | undefined;
  /** Tokens of the text that the model does not know. */
  readonly unknownTokens: number;
  /** Hex SHA-256 of the whole text, as it was scored. */
  readonly textSha256: string;
}

export interface EvaluationText {
  readonly text: string;
  /** BOS tokens included. */
  readonly ids: Int32Array;
  readonly window: number;
  readonly facts: TextFacts;
}

/** @throws PenjingError for a window that no model has */
export function checkWindow(window: number | undefined): void {
  if (window === undefined || (Number.isSafeInteger(window) && window >= 2)) return;
  throw new PenjingError("window", `it is ${window}, must be a whole number of at least 2.`);
}

/** @throws PenjingError for a window longer than the model's context */
export function windowOf({ context }: DecoderSpec, asked: number | undefined): number {
  const window = asked ?? Math.min(context, LONGEST_RUN);
  if (window <= context) return window;
  throw new PenjingError(
    "window",
    `it is ${window}, must be at most the model's context of ${context}.`,
  );
}

/**
 * Reads the text and encodes it.
 *
 * @throws PenjingError when it is empty, or most of it is unknown to the tokenizer
 */
export async function* readEvaluation(
  { text: source, window: asked, bos }: EvaluationSource,
  { spec, folder, tokenizer }: Reading,
  signal: AbortSignal | undefined,
): AsyncGenerator<TokenizeEvent, EvaluationText, void> {
  const window = windowOf(spec, asked);
  const { text, sha256 } = await gatherText(source, folder, { signal });
  if (text.trim() === "") {
    throw new PenjingError("text", "the text is empty; give a text file with words in it.");
  }
  const bosId = windowBos(bos, { spec, tokenizer });
  const encoded = yield* encodeText(tokenizer, text, { signal });
  const ids = bosId === undefined ? encoded : withBos(encoded, window, bosId);
  refuseForeignIds(ids, spec);
  refuseUnknown("text", tokenizer, encoded);
  const unknownTokens = tokenizer.countUnknown(encoded);
  const facts = {
    ...(bosId !== undefined && { bosId }),
    ...{ unknownTokens, textSha256: sha256 },
  };
  return { text, ids, window, facts };
}

/** @throws PenjingError for a text shorter than one window */
export function windowsIn(ids: Int32Array, window: number): number {
  const windows = Math.floor(ids.length / window);
  if (windows > 0) return windows;
  throw new PenjingError(
    "text",
    `the text has ${ids.length} tokens, fewer than one window of ${window}; give a longer text or a smaller \`window\`.`,
  );
}
