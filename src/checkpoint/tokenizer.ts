import { checkArguments, OPEN_FOLDER, required, SIGNAL } from "../arguments.js";
import { PenjingError } from "../errors.js";
import type { Folder } from "../platform/files.js";
import { quote } from "../quote.js";
import { pacer, pause, withRest } from "../run.js";
import {
  isJsonObject,
  type JsonObject,
  jsonSteps,
  MAX_CONFIG_DEPTH,
  own,
  parseJson,
} from "./json.js";
import type { Definition } from "./tokenizer/definition.js";
import type { Encoding } from "./tokenizer/pipeline.js";

/** Longest tokenizer.json accepted, in bytes; the largest published ones have about 35 MB. */
export const MAX_TOKENIZER_BYTES = 200_000_000;
/** Longest tokenizer_config.json and the like accepted, in bytes. */
const MAX_SETTINGS_BYTES = 20_000_000;

export interface LoadTokenizerOptions {
  /** Stops the loading. */
  readonly signal?: AbortSignal | undefined;
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
   *
   * @throws PenjingError for text that a pattern of the file takes too long on
   */
  encode(text: string, options?: EncodeOptions): Int32Array;
  /**
   * The same in steps of some milliseconds, for long texts: the caller may do something else after
   * each, or stop there, with the ids of a beginning of the text. One step on, they are never
   * others.
   */
  encodeSteps(text: string, options?: EncodeOptions): Generator<Encoding, Int32Array, void>;
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
 *
 * Ids are those of the Rust library "tokenizers" 0.23, which wrote the file. This is our own reading
 * of it and not `@huggingface/tokenizers`, because that one computes several pre-tokenizers and flags
 * differently without saying so, and cannot be stopped in a long text. What is not computed exactly
 * (Unigram, WordPiece, encoder models' normalizers, unusual patterns) is refused by name.
 *
 * @throws PenjingError when a file is missing or malformed, or holds what is not supported
 */
export async function loadTokenizer(
  folder: Folder,
  options: LoadTokenizerOptions = {},
): Promise<Tokenizer> {
  checkArguments("loadTokenizer", { folder }, { folder: required(OPEN_FOLDER) });
  checkArguments("loadTokenizer", options, { signal: SIGNAL });
  const { signal } = options;
  signal?.throwIfAborted();
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
  const rest = pacer(signal);
  await rest();
  const parsed = await withRest(jsonSteps(text, where, MAX_CONFIG_DEPTH), rest);
  await pause(signal);
  const { readDefinition } = await import("./tokenizer/definition.js");
  const definition = readDefinition(where, parsed);
  await pause(signal);
  const settings = (await readSettings(folder, "tokenizer_config.json")) ?? {};
  const generation = await readSettings(folder, "generation_config.json");
  const config = await readSettings(folder, "config.json");
  const inConfigs = (key: string): number[] =>
    [generation, config].flatMap((file) => {
      const value = file && own(file, key);
      const ids = Array.isArray(value) ? value : [value];
      const { size } = definition;
      return ids.filter((id) => Number.isInteger(id) && id >= 0 && id < size) as number[];
    });
  const idOf = (key: string): number | undefined => {
    const token = own(settings, key);
    const content = isJsonObject(token) ? own(token, "content") : token;
    return typeof content === "string" ? definition.idOf(content) : undefined;
  };
  const bosNamed = Object.hasOwn(settings, "bos_token");
  const bosId = bosNamed ? idOf("bos_token") : inConfigs("bos_token_id")[0];
  const eosId = idOf("eos_token");
  const eos = [eosId, ...inConfigs("eos_token_id")].filter((id) => id !== undefined);
  return makeTokenizer(
    { ...definition, around: aroundText(definition, settings, { bosId, eosId }) },
    { bosId, eosIds: [...new Set(eos)] },
  );
}

/** A JSON object beside the weights; undefined when there is no such file. */
export async function readSettings(folder: Folder, name: string): Promise<JsonObject | undefined> {
  if (!(await folder.has(name))) return undefined;
  const where = `${folder.path}/${name}`;
  const text = await folder.readText(name, MAX_SETTINGS_BYTES);
  const value = parseJson(text, where, MAX_CONFIG_DEPTH);
  if (!isJsonObject(value)) {
    throw new PenjingError(where, `it must hold a JSON object, found ${quote(value)}.`);
  }
  return value;
}

/**
 * What is put around a text: as tokenizer.json says, unless `add_bos_token` or `add_eos_token` of
 * tokenizer_config.json say otherwise, which transformers obeys.
 */
function aroundText(
  { around }: Definition,
  settings: JsonObject,
  { bosId, eosId }: { readonly bosId: number | undefined; readonly eosId: number | undefined },
): Definition["around"] {
  const set = (ids: readonly number[], id: number | undefined, wanted: unknown) => {
    if (typeof wanted !== "boolean" || id === undefined) return ids;
    const others = ids.filter((other) => other !== id);
    return wanted ? [...others, id] : others;
  };
  return {
    before: set(around.before, bosId, own(settings, "add_bos_token")),
    behind: set(around.behind, eosId, own(settings, "add_eos_token")),
  };
}

function makeTokenizer(
  { pipeline, around, size, unknownId, decode }: Definition,
  ends: { readonly bosId: number | undefined; readonly eosIds: readonly number[] },
): Tokenizer {
  function* encodeSteps(
    text: string,
    { addSpecialTokens = false }: EncodeOptions = {},
  ): Generator<Encoding, Int32Array, void> {
    const encoding: Encoding = { ids: addSpecialTokens ? [...around.before] : [], done: 0 };
    // Half a surrogate pair is no character; Rust's texts cannot hold one.
    const wellFormed = text.replace(/\p{Surrogate}/gu, "\uFFFD");
    for (const _ of pipeline.encode(wellFormed, encoding)) yield encoding;
    if (addSpecialTokens) encoding.ids.push(...around.behind);
    return new Int32Array(encoding.ids);
  }
  return {
    vocabSize: size,
    ...ends,
    unknownId,
    encodeSteps,
    encode(text, options) {
      const steps = encodeSteps(text, options);
      for (;;) {
        const step = steps.next();
        if (step.done) return step.value;
      }
    },
    decode(ids, { skipSpecialTokens = false } = {}) {
      return decode(Array.from(ids), skipSpecialTokens ? "skip special" : "keep all");
    },
    countUnknown(ids) {
      let count = 0;
      for (let i = 0; i < ids.length; i++) if (ids[i] === unknownId) count++;
      return count;
    },
  };
}
