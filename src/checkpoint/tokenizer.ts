import { Tokenizer as LibraryTokenizer } from "@huggingface/tokenizers";
import { checkArguments, OPEN_FOLDER, required } from "../arguments.js";
import { PenjingError } from "../errors.js";
import type { Folder } from "../platform/files.js";
import { BytePairEncoder } from "./bpe.js";
import { isJsonObject, type JsonObject, MAX_CONFIG_DEPTH, own, parseJson, quote } from "./json.js";

/** Longest tokenizer.json accepted, in bytes; the largest published ones have about 35 MB. */
export const MAX_TOKENIZER_BYTES = 200_000_000;
/** Longest tokenizer_config.json and the like accepted, in bytes. */
const MAX_SETTINGS_BYTES = 20_000_000;

/**
 * The parts of the library that are used here. Its own declarations import without file extensions,
 * so that TypeScript resolves them to `any` in an ES module.
 */
interface Library {
  readonly model: LibraryModel;
  readonly decoder: LibraryDecoder | null;
  encode(
    text: string,
    options: { add_special_tokens: boolean },
  ): { ids: (number | undefined)[]; tokens: string[] };
  decode(
    ids: readonly number[],
    options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean },
  ): string;
  token_to_id(token: string): number | undefined;
  id_to_token(id: number): string | undefined;
}

/** `bpe` and what follows are there in byte-pair models only. */
interface LibraryModel {
  readonly tokens_to_ids: Map<string, number>;
  readonly unk_token_id?: number | undefined;
  readonly end_of_word_suffix?: string | undefined;
  readonly continuing_subword_suffix?: string | null | undefined;
  readonly merges?: [string, string][] | undefined;
  readonly max_length_to_cache?: number | undefined;
  bpe?: ((word: string) => string[]) | undefined;
}

interface LibraryDecoder {
  readonly config: { readonly type: string };
  /** The parts of a decoder of type Sequence. */
  readonly decoders?: readonly LibraryDecoder[] | undefined;
  text_decoder?: TextDecoder | undefined;
}

export interface EncodeOptions {
  /**
   * Add what the tokenizer puts around a text for its model, such as a BOS token.
   *
   * @default false
   */
  readonly addSpecialTokens?: boolean | undefined;
}

export interface DecodeOptions {
  /**
   * Leave out control tokens such as BOS and EOS.
   *
   * @default false
   */
  readonly skipSpecialTokens?: boolean | undefined;
}

/** Text to token ids and back. */
export interface Tokenizer {
  /**
   * Ids of a text, as the original tokenizer gives them. Text that no token covers becomes
   * `unknownId`; a tokenizer that has none drops it.
   */
  encode(text: string, options?: EncodeOptions): Int32Array;
  /** The text of ids. Nothing is tidied; an id that the vocabulary lacks stands for no text. */
  decode(ids: ArrayLike<number>, options?: DecodeOptions): string;
  /** One more than the largest id. A model may have more rows than that, as padding. */
  readonly vocabSize: number;
  /** The id that begins a text, if the model's files name one. */
  readonly bosId: number | undefined;
  /** The ids that end a text, as the model's files name them; may be empty. */
  readonly eosIds: readonly number[];
  /** The id for text that no token covers, if the vocabulary has one. */
  readonly unknownId: number | undefined;
  /** How many of the ids are `unknownId`: text that was lost. */
  countUnknown(ids: ArrayLike<number>): number;
}

/**
 * Loads tokenizer.json of a model folder, with tokenizer_config.json, generation_config.json and
 * config.json for the ids that begin and end a text.
 */
export async function loadTokenizer(folder: Folder): Promise<Tokenizer> {
  checkArguments("loadTokenizer", { folder }, { folder: required(OPEN_FOLDER) });
  const where = `${folder.path}/tokenizer.json`;
  if (!(await folder.has("tokenizer.json"))) {
    const model = (await folder.has("tokenizer.model")) || (await folder.has("vocab.json"));
    throw new PenjingError(
      folder.path,
      model
        ? "it has a tokenizer in an older format but no tokenizer.json; save the tokenizer with transformers (save_pretrained of a fast tokenizer) and put tokenizer.json here."
        : "it has no tokenizer.json; download it with the model, or name a folder that has one.",
    );
  }
  const text = await folder.readText("tokenizer.json", MAX_TOKENIZER_BYTES);
  const definition = parseJson(text, where, MAX_CONFIG_DEPTH);
  const settings = (await readSettings(folder, "tokenizer_config.json")) ?? {};
  const library = build(where, definition, settings);
  const size = vocabSize(where, library);
  const idOf = (token: unknown): number | undefined => {
    const content = isJsonObject(token) ? own(token, "content") : token;
    return typeof content === "string" ? library.token_to_id(content) : undefined;
  };
  const generation = await readSettings(folder, "generation_config.json");
  const config = await readSettings(folder, "config.json");
  const inConfigs = (key: string): number[] =>
    [generation, config].flatMap((file) => {
      const value = file && own(file, key);
      const ids = Array.isArray(value) ? value : [value];
      return ids.filter((id) => Number.isInteger(id) && id >= 0 && id < size) as number[];
    });
  const bosNamed = Object.hasOwn(settings, "bos_token");
  const eos = [idOf(own(settings, "eos_token")), ...inConfigs("eos_token_id")];
  return makeTokenizer(where, library, size, {
    bosId: bosNamed ? idOf(own(settings, "bos_token")) : inConfigs("bos_token_id")[0],
    eosIds: [...new Set(eos.filter((id) => id !== undefined))],
  });
}

async function readSettings(folder: Folder, name: string): Promise<JsonObject | undefined> {
  if (!(await folder.has(name))) return undefined;
  const where = `${folder.path}/${name}`;
  const text = await folder.readText(name, MAX_SETTINGS_BYTES);
  const value = parseJson(text, where, MAX_CONFIG_DEPTH);
  if (!isJsonObject(value)) {
    throw new PenjingError(where, `it must hold a JSON object, found ${quote(value)}.`);
  }
  return value;
}

/** Keys that the library reads without asking whether they are there. */
const REQUIRED = ["model", "normalizer", "pre_tokenizer", "post_processor", "decoder"];

function build(where: string, definition: unknown, settings: JsonObject): Library {
  const fail = (message: string, cause?: unknown): never => {
    throw new PenjingError(
      where,
      `${message}; it must be a tokenizer.json of the Hugging Face tokenizers library: fetch it again.`,
      { cause },
    );
  };
  if (!isJsonObject(definition)) return fail(`it holds ${quote(definition)}`);
  const model = own(definition, "model");
  if (!isJsonObject(model)) return fail('its "model" is not an object');
  const complete: Record<string, unknown> = { added_tokens: [], ...definition };
  for (const key of REQUIRED) complete[key] ??= null;
  if (!Array.isArray(complete.added_tokens)) fail('its "added_tokens" is not a list');
  try {
    const library = new LibraryTokenizer(complete, settings) as Library;
    speedUp(library.model);
    keepByteOrderMarks(library.decoder);
    return library;
  } catch (error) {
    return fail(`it cannot be understood (${(error as Error).message})`, error);
  }
}

/**
 * Gives a byte-pair model our encoder of long words: the library's own gives the same pieces but
 * takes some 15 s for a million characters without a pre-tokenizer, ours about 2.
 */
function speedUp(model: LibraryModel): void {
  const { merges, bpe, max_length_to_cache: cached = 256 } = model;
  if (!merges || !bpe || model.end_of_word_suffix || model.continuing_subword_suffix) return;
  const encoder = new BytePairEncoder({ tokenIds: model.tokens_to_ids, merges });
  // The library remembers its results below this length, which is faster for words.
  model.bpe = (word) => (word.length < cached ? bpe.call(model, word) : encoder.split(word));
}

/** Stops the library's byte fallback from dropping U+FEFF that a text had. */
function keepByteOrderMarks(decoder: LibraryDecoder | null): void {
  if (decoder?.config.type === "ByteFallback") {
    decoder.text_decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  }
  for (const part of decoder?.decoders ?? []) keepByteOrderMarks(part);
}

/** Checks that token ids are small whole numbers; returns one more than the largest. */
function vocabSize(where: string, library: Library): number {
  let largest = -1;
  for (const [token, id] of library.model.tokens_to_ids) {
    if (!Number.isInteger(id) || id < 0 || id >= 2 ** 31) {
      throw new PenjingError(
        where,
        `the id of token ${quote(token)} is ${quote(id)}, not a whole number from 0 to 2^31 - 1; fetch the file again.`,
      );
    }
    if (id > largest) largest = id;
  }
  if (largest < 0) throw new PenjingError(where, "its vocabulary is empty; fetch the file again.");
  return largest + 1;
}

function makeTokenizer(
  where: string,
  library: Library,
  size: number,
  ends: { readonly bosId: number | undefined; readonly eosIds: readonly number[] },
): Tokenizer {
  const unknownId = library.model.unk_token_id;
  return {
    vocabSize: size,
    ...ends,
    unknownId,
    encode(text, { addSpecialTokens = false } = {}) {
      const { ids, tokens } = library.encode(text, { add_special_tokens: addSpecialTokens });
      // The library leaves the id of such a token undefined.
      const lost = ids.indexOf(undefined);
      if (lost >= 0) {
        throw new PenjingError(
          where,
          `the token ${quote(tokens[lost])} is not in the vocabulary, which has none for unknown text either; fetch the file again.`,
        );
      }
      return Int32Array.from(ids as number[]);
    },
    decode(ids, { skipSpecialTokens = false } = {}) {
      const known = Array.from(ids).filter((id) => library.id_to_token(id) !== undefined);
      if (known.length === 0) return "";
      return library.decode(known, {
        skip_special_tokens: skipSpecialTokens,
        clean_up_tokenization_spaces: false,
      });
    },
    countUnknown(ids) {
      let count = 0;
      for (let i = 0; i < ids.length; i++) if (ids[i] === unknownId) count++;
      return count;
    },
  };
}
