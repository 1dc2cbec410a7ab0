import type { Checkpoint } from "../checkpoint/checkpoint.js";
import { loadTokenizer } from "../checkpoint/tokenizer.js";
import { sha256 } from "../digest.js";
import { PenjingError } from "../errors.js";
import { type BosMode, windowBos, withBos } from "../models/bos.js";
import { refuseForeignIds } from "../models/open.js";
import type { StoredModel } from "../models/stored.js";
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
  text: string,
  recipe: Settings,
  { spec }: StoredModel,
  { bos: mode, signal }: WindowOptions = {},
): AsyncGenerator<TokenizeEvent, Windows, void> {
  if (recipe.length > spec.context) {
    throw new PenjingError(
      "length",
      `windows of ${recipe.length} tokens exceed the model's context of ${spec.context}; give \`length: ${spec.context}\` or less.`,
    );
  }
  if (text.trim() === "") {
    throw new PenjingError("calibration", "the text is empty; give a text file with words in it.");
  }
  const tokenizer = await loadTokenizer(checkpoint.folder, { signal });
  const bos = windowBos(mode, { spec, tokenizer });
  if (bos !== undefined && recipe.length < 2) {
    throw new PenjingError("length", "windows of 1 token hold only the BOS token; give 2 or more.");
  }
  const own = bos === undefined ? recipe.length : recipe.length - 1;
  // Longer texts are cut where they surely give the tokens that are wanted.
  const most = recipe.samples * recipe.length * CHARACTERS_PER_TOKEN;
  const wanted = recipe.samples * own;
  const encoded = yield* encodeText(tokenizer, text.slice(0, most), { wanted, signal });
  const ids = bos === undefined ? encoded : withBos(encoded, recipe.length, bos);
  refuseForeignIds(ids, spec);
  refuseUnknown("calibration", tokenizer, ids);
  const windows = cutWindows(ids, recipe.samples, recipe.length);
  const unknown = tokenizer.countUnknown(windows.ids);
  const notes: string[] = [];
  if (windows.samples < recipe.samples) {
    notes.push(`the text gives ${windows.samples} of ${recipe.samples} windows; all are used`);
  }
  if (unknown > 0)
    notes.push(`${unknown} of ${windows.ids.length} tokens are unknown to the model`);
  return {
    ...windows,
    notes,
    facts: {
      sha256: await sha256(text),
      characters: text.length,
      samples: windows.samples,
      length: recipe.length,
      unknownTokens: unknown,
      ...(bos !== undefined && { bosId: bos }),
    },
  };
}
