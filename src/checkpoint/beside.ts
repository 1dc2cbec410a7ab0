/** Which files beside the weights belong to a model and are copied with it. */
import { PenjingError } from "../errors.js";
import type { Folder, LinkTarget } from "../platform/files.js";
import { quote } from "../quote.js";
import { listNames } from "./safetensors-writer.js";

/** Configuration and tokenizer: of any size. */
const KNOWN =
  /^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template|preprocessor_config|processor_config|tekken|penjing|penjing-report)\.json$|^(tokenizer|spiece|sentencepiece(\.bpe)?)\.model$|^[^/]+\.tiktoken$|^(merges|vocab)\.txt$|^chat_template\.jinja$|^additional_chat_templates\/[^/]+\.jinja$/;
/** Licence, model card and other texts, if they are small: `MAX_TEXT_BYTES`. */
const TEXTS =
  /^(licen[cs]e|notice|copying|copyright|authors|use_policy|readme)([-_][\w-]*)?$|^([^/]+\/)?[^/]+\.(md|txt|rst)$|^[^/]+\.(cff|json|ya?ml|jinja|py)$/i;
/** Small texts of training, of adapters and about weight files. */
const NOT_OF_THE_MODEL =
  /\.index\.json$|^(adapter_|trainer_state|training_|optimizer|scheduler|rng_state|all_results|train_results|params\.json)/i;
/** Longest text of no known name that counts as small: 1 MiB. */
const MAX_TEXT_BYTES = 2 ** 20;

/** The files beside the weights, in order of name. */
export interface BesideFiles {
  /** Those that are copied. */
  readonly copied: readonly string[];
  /** Those that are not known to belong to the model. */
  readonly left: readonly string[];
  /** Those that would be copied but are symbolic links which lead out of the folder. */
  readonly links: ReadonlyMap<string, string>;
}

/**
 * Sorts the files beside the weights.
 *
 * @param names all that are neither weights nor the index
 * @param single whether the weights were opened as a single file, in a folder of anything
 */
export async function sortBeside(
  folder: Folder,
  names: readonly string[],
  single: boolean,
): Promise<BesideFiles> {
  const targets = (await folder.links?.()) ?? new Map<string, LinkTarget>();
  const links = new Map<string, string>();
  const copied: string[] = [];
  const left: string[] = [];
  for (const name of names) {
    const isKnown = KNOWN.test(name);
    if (!isKnown && single) continue;
    const link = targets.get(name);
    const belongs = isKnown || (TEXTS.test(name) && !NOT_OF_THE_MODEL.test(name));
    if (belongs && link) links.set(name, link.target);
    else if (isKnown || (belongs && (await isSmall(folder, name)))) copied.push(name);
    else left.push(name);
  }
  return { copied, left, links };
}

/** One that cannot be opened counts as small: copying it says why. */
async function isSmall(folder: Folder, name: string): Promise<boolean> {
  try {
    const source = await folder.open(name);
    await source.close();
    return source.size <= MAX_TEXT_BYTES;
  } catch {
    return true;
  }
}

/** What a model cannot be run without. */
const NEEDED = ["config.json", "tokenizer.json"];

/**
 * Says which files do not go with a copy of a model.
 *
 * @returns sentences, none when all do
 * @throws PenjingError when one is left without which the copy cannot be run
 */
export function tellLeft(where: string, { left, links }: BesideFiles): string[] {
  for (const name of NEEDED) {
    const target = links.get(name);
    if (target === undefined) continue;
    throw new PenjingError(
      where,
      `${name} is a symbolic link to ${quote(target)}, outside the folder, which is not followed when a model is copied; put the file itself there.`,
    );
  }
  const notes: string[] = [];
  if (left.length > 0) {
    notes.push(
      `left out, as not known to belong to the model: ${listNames(left)}; copy by hand what is needed`,
    );
  }
  if (links.size > 0) {
    notes.push(
      `left out, as symbolic links that lead out of the folder: ${listNames([...links.keys()])}`,
    );
  }
  return notes;
}
