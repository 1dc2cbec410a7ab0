/** Folders of which some files come from elsewhere. */
import { PenjingError } from "../errors.js";
import { type Folder, memoryFolder, openFolder } from "../platform/files.js";
import { quote } from "../quote.js";
import type { Checkpoint } from "./opened.js";

/**
 * A folder with other files in the place of some of its own.
 *
 * @param hidden whether a file of the folder is not to be seen
 * @param above what is seen in its place
 */
function overlay(below: Folder, above: Folder, hidden: (name: string) => boolean): Folder {
  const own = async (name: string) => ((await above.has(name)) ? above : below);
  const isGone = async (name: string) => hidden(name) && !(await above.has(name));
  return {
    path: below.path,
    async list() {
      const kept = (await below.list()).filter((name) => !hidden(name));
      return [...new Set([...kept, ...(await above.list())])].sort();
    },
    open: async (name) => (await own(name)).open(name),
    readText: async (name, maxBytes) => (await own(name)).readText(name, maxBytes),
    has: async (name) => !(await isGone(name)) && (await own(name)).has(name),
    ...(below.links && { links: () => below.links!() }),
  };
}

/** The same checkpoint with another folder. */
function withFolder(
  checkpoint: Checkpoint,
  folder: Folder,
  copied: readonly string[],
  changes: Partial<Checkpoint> = {},
): Checkpoint {
  const { beside } = checkpoint;
  const links = new Map([...beside.links].filter(([name]) => !copied.includes(name)));
  return Object.defineProperties({} as Checkpoint, {
    // The config of a GGUF file throws where it cannot be made; it is not read before it is needed.
    ...Object.getOwnPropertyDescriptors(checkpoint),
    ...Object.getOwnPropertyDescriptors({
      ...changes,
      ...{ folder, beside: { ...beside, copied, links } },
    }),
  });
}

/** The same checkpoint with texts in the place of files beside its weights. */
export function withTexts(
  checkpoint: Checkpoint,
  texts: Readonly<Record<string, string>>,
  changes: Partial<Checkpoint>,
): Checkpoint {
  const { folder, beside } = checkpoint;
  const above = memoryFolder(texts, folder.path);
  const isAbove = (name: string) => Object.hasOwn(texts, name);
  return withFolder(checkpoint, overlay(folder, above, isAbove), beside.copied, changes);
}

/** The files that say how text becomes tokens and conversations become text. */
const TOKENIZER_FILES =
  /^(tokenizer(_config)?|special_tokens_map|added_tokens|vocab|chat_template|tekken)\.json$|^(tokenizer|spiece|sentencepiece(\.bpe)?)\.model$|^[^/]+\.tiktoken$|^(merges|vocab)\.txt$|^chat_template\.jinja$|^additional_chat_templates\/[^/]+\.jinja$/;

/** A folder of which only the files of a tokenizer are seen. */
function tokenizerOf(folder: Folder): Folder {
  const isSeen = (name: string) => TOKENIZER_FILES.test(name);
  return {
    path: folder.path,
    list: async () => (await folder.list()).filter(isSeen),
    open: (name) => folder.open(name),
    readText: (name, maxBytes) => folder.readText(name, maxBytes),
    has: async (name) => isSeen(name) && (await folder.has(name)),
  };
}

export interface TokenizerOptions {
  /**
   * A folder whose tokenizer.json, and what belongs to it, is taken in the place of the model's own. An
   * open model has its own.
   *
   * @default the model's
   */
  readonly tokenizer?: string | Folder | undefined;
}

/**
 * The same checkpoint with the tokenizer of another folder, its chat template too.
 *
 * @param tokenizer a folder that has tokenizer.json; undefined changes nothing
 * @throws PenjingError when the folder cannot be opened, or has no tokenizer.json
 */
export async function withTokenizer(
  checkpoint: Checkpoint,
  tokenizer: string | Folder | undefined,
): Promise<Checkpoint> {
  if (tokenizer === undefined) return checkpoint;
  const given = typeof tokenizer === "string" ? await openFolder(tokenizer) : tokenizer;
  const above = tokenizerOf(given);
  if (!(await above.has("tokenizer.json"))) {
    throw new PenjingError(
      "tokenizer",
      `${quote(given.path)} has no tokenizer.json; give the folder of a model that has the wanted tokenizer.`,
    );
  }
  const isHidden = (name: string) => TOKENIZER_FILES.test(name);
  const kept = checkpoint.beside.copied.filter((name) => !isHidden(name));
  const copied = [...kept, ...(await above.list())].sort();
  return withFolder(checkpoint, overlay(checkpoint.folder, above, isHidden), copied);
}
