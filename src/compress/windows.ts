import type { Checkpoint } from "../checkpoint/checkpoint.js";
import { loadTokenizer, type Tokenizer } from "../checkpoint/tokenizer.js";
import type { Dataset } from "../datasets/dataset.js";
import { gatherText } from "../datasets/gather.js";
import { PenjingError } from "../errors.js";
import { type BosMode, windowBos, withBos } from "../models/bos.js";
import { refuseForeignIds } from "../models/open.js";
import type { StoredModel } from "../models/stored.js";
import { Random } from "../random.js";
import { encodeText, refuseUnknown, type TokenizeEvent } from "../text.js";
import type { Settings } from "./settings.js";

/** Calibration windows, and what the side file says of them. */
export interface Windows {
  readonly ids: Int32Array;
  readonly samples: number;
  readonly notes: readonly string[];
  /** Undefined without a text. */
  readonly facts: Readonly<Record<string, number | string>> | undefined;
}

/** What stands in for windows where nothing reads any. */
export const NO_WINDOWS: Windows = {
  ids: new Int32Array(0),
  samples: 0,
  notes: [],
  facts: undefined,
};

/** Characters of text read for each wanted token; longer texts are cut there before tokenising. */
const CHARACTERS_PER_TOKEN = 64;

/**
 * Cuts token ids into windows from the start.
 *
 * @returns at most `samples` windows of `length` ids, [windows * length]
 * @throws PenjingError when there is not one whole window
 */
function cutWindows(
  ids: Int32Array,
  samples: number,
  length: number,
): { readonly ids: Int32Array; readonly samples: number } {
  const windows = Math.min(samples, Math.floor(ids.length / length));
  if (windows === 0) {
    throw new PenjingError(
      "calibration",
      `the text has ${ids.length} tokens, fewer than one window of ${length}; give a longer text or a smaller \`length\`.`,
    );
  }
  return { ids: ids.slice(0, windows * length), samples: windows };
}

export interface WindowOptions {
  /** Whether each window begins with a BOS token. @default "auto" */
  readonly bos?: BosMode | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Cuts the calibration text into windows.
 *
 * @throws PenjingError when windows exceed the model's context, the text gives none, most of it is
 *   unknown to the tokenizer, or the tokenizer has tokens that the model lacks
 */
export async function* tokenise(
  checkpoint: Checkpoint,
  calibration: string | Dataset,
  recipe: Pick<Settings, "samples" | "length" | "sampling" | "seed">,
  { spec }: StoredModel,
  { bos: mode, signal }: WindowOptions = {},
): AsyncGenerator<TokenizeEvent, Windows, void> {
  const { samples, length, sampling } = recipe;
  if (length > spec.context) {
    throw new PenjingError(
      "length",
      `windows of ${length} tokens exceed the model's context of ${spec.context}; give \`length: ${spec.context}\` or less.`,
    );
  }
  const isRandom = sampling === "random";
  // Longer texts are cut where they surely give the tokens that are wanted.
  const most = samples * length * CHARACTERS_PER_TOKEN;
  const { folder } = checkpoint;
  const { text, facts } = await gatherText(calibration, folder, {
    most: isRandom ? undefined : most,
    signal,
  });
  if (text.trim() === "") {
    throw new PenjingError("calibration", "the text is empty; give a text file with words in it.");
  }
  const tokenizer = await loadTokenizer(folder, { signal });
  const bos = windowBos(mode, { spec, tokenizer });
  if (bos !== undefined && length < 2) {
    throw new PenjingError("length", "windows of 1 token hold only the BOS token; give 2 or more.");
  }
  const own = bos === undefined ? length : length - 1;
  const wanted = samples * own;
  const encoded = isRandom
    ? yield* randomWindows(tokenizer, text, { ...recipe, length: own }, signal)
    : yield* encodeText(tokenizer, text.slice(0, most), { wanted, signal });
  const ids = bos === undefined ? encoded : withBos(encoded, length, bos);
  refuseForeignIds(ids, spec);
  refuseUnknown("calibration", tokenizer, ids);
  const windows = cutWindows(ids, samples, length);
  const unknown = tokenizer.countUnknown(windows.ids);
  const notes: string[] = [];
  if (windows.samples < samples) {
    notes.push(`the text gives ${windows.samples} of ${samples} windows; all are used`);
  }
  if (unknown > 0)
    notes.push(`${unknown} of ${windows.ids.length} tokens are unknown to the model`);
  return {
    ...windows,
    notes,
    facts: {
      ...facts,
      samples: windows.samples,
      length,
      ...(isRandom && { sampling, seed: recipe.seed }),
      unknownTokens: unknown,
      ...(bos !== undefined && { bosId: bos }),
    },
  };
}

/** Places that are tried for a window before the text is taken to be too short. */
const TRIES = 100;

/**
 * Token ids of windows that begin at random places, each at the beginning of a word where there are words.
 *
 * @returns [samples * length]
 * @throws PenjingError when the text is hardly longer than one window
 */
async function* randomWindows(
  tokenizer: Tokenizer,
  text: string,
  { samples, length, seed }: Pick<Settings, "samples" | "length" | "seed">,
  signal: AbortSignal | undefined,
): AsyncGenerator<TokenizeEvent, Int32Array, void> {
  const random = new Random(seed);
  const ids = new Int32Array(samples * length);
  for (let i = 0; i < samples; i++) {
    yield {
      type: "tokenize",
      done: Math.floor((text.length * i) / samples),
      characters: text.length,
    };
    let window: Int32Array = new Int32Array();
    for (let tries = 0; window.length < length; tries++) {
      if (tries === TRIES) {
        throw new PenjingError(
          "calibration",
          `the text is too short for windows of ${length} tokens at random places; give a longer text, a smaller \`length\`, or \`sampling: start\`.`,
        );
      }
      const at = wordAfter(text, Math.floor(random.next() * text.length));
      const part = text.slice(at, at + length * CHARACTERS_PER_TOKEN);
      window = yield* encodeText(tokenizer, part, { wanted: length, signal });
    }
    ids.set(window, i * length);
  }
  return ids;
}

/** Characters in which a word ends; texts without spaces, such as Chinese ones, are cut anywhere. */
const LONGEST_WORD = 200;

/** Where the first word after a place begins, its space included: tokens of words begin with theirs. */
function wordAfter(text: string, at: number): number {
  if (at === 0) return 0;
  const space = text.slice(at, at + LONGEST_WORD).search(/\s/);
  if (space >= 0) return at + space;
  // Not within a pair of surrogates.
  return /[\uDC00-\uDFFF]/.test(text[at] ?? "") ? at + 1 : at;
}
