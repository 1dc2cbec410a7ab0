import { CHARACTERS_PER_TOKEN, calibrationWindows } from "../calibrate.js";
import type { Checkpoint } from "../checkpoint/checkpoint.js";
import { loadTokenizer, type Tokenizer } from "../checkpoint/tokenizer.js";
import { PenjingError } from "../errors.js";
import { refuseForeignIds } from "../models/open.js";
import type { StoredModel } from "../models/stored.js";
import { refuseUnknown, sha256 } from "../text.js";
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

/** Characters for each token that a first look takes; most texts and vocabularies need fewer. */
const FIRST_LOOK = 6;
/** Tokens before a cut that may be others than without it. */
const MARGIN = 1000;

/** At least the first `wanted` tokens of a text, if it has as many, without reading far beyond them. */
function firstTokens(tokenizer: Tokenizer, text: string, wanted: number): Int32Array {
  const most = wanted * CHARACTERS_PER_TOKEN;
  for (let look = FIRST_LOOK * (wanted + MARGIN); look < Math.min(most, text.length); look *= 2) {
    const ids = tokenizer.encode(text.slice(0, look));
    if (ids.length >= wanted + MARGIN) return ids.subarray(0, wanted);
  }
  return tokenizer.encode(text.slice(0, most));
}

/**
 * Cuts the calibration text into windows.
 *
 * @throws PenjingError when windows exceed the model's context, the text gives none, most of it is
 *   unknown to the tokenizer, or the tokenizer has tokens that the model lacks
 */
export async function tokenise(
  checkpoint: Checkpoint,
  text: string,
  recipe: Settings,
  { spec }: StoredModel,
): Promise<Windows> {
  if (recipe.length > spec.context) {
    throw new PenjingError(
      "length",
      `windows of ${recipe.length} tokens exceed the model's context of ${spec.context}; give \`length: ${spec.context}\` or less.`,
    );
  }
  if (text.trim() === "") {
    throw new PenjingError("calibration", "the text is empty; give a text file with words in it.");
  }
  const tokenizer = await loadTokenizer(checkpoint.folder);
  const wanted = recipe.samples * recipe.length;
  const ids = firstTokens(tokenizer, text, wanted);
  refuseForeignIds(ids, spec);
  refuseUnknown("calibration", tokenizer, ids);
  const windows = calibrationWindows(ids, recipe.samples, recipe.length);
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
    },
  };
}
