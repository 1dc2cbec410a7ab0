import { PenjingError } from "../../errors.js";
import { quote } from "../../quote.js";
import { isJsonObject, own } from "../json.js";
import { readAddedTokens } from "./added-tokens.js";
import { BytePairEncoder, readMerges } from "./bpe.js";
import { readDecoder } from "./decoder.js";
import { Fields } from "./fields.js";
import { readNormalizers } from "./normalizer.js";
import { Pipeline } from "./pipeline.js";
import { type Around, readPostProcessor } from "./post-processor.js";
import { looksAtStart, readPreTokenizer } from "./pre-tokenizer.js";

/** What tokenizer.json says. */
export interface Definition {
  readonly pipeline: Pipeline;
  readonly around: Around;
  /** One more than the largest id. */
  readonly size: number;
  readonly unknownId: number | undefined;
  idOf(token: string): number | undefined;
  decode(ids: readonly number[], special: "skip special" | "keep all"): string;
}

/** All that a tokenizer.json may hold, as the library has it, which refuses any other key. */
const KEYS = [
  ...["version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer"],
  ...["post_processor", "decoder", "model"],
];

/**
 * Reads a parsed tokenizer.json. `truncation` and `padding` are left aside, as transformers does.
 *
 * @param where the file, for messages
 * @throws PenjingError for what is malformed or not supported
 */
export function readDefinition(where: string, value: unknown): Definition {
  const fail = (message: string): never => {
    throw new PenjingError(
      where,
      `${message}; it must be a tokenizer.json of the Hugging Face tokenizers library: fetch it again.`,
    );
  };
  if (!isJsonObject(value)) return fail(`it holds ${quote(value)}`);
  if (!isJsonObject(own(value, "model"))) return fail('its "model" is not an object');
  if (!Array.isArray(own(value, "added_tokens") ?? [])) fail('its "added_tokens" is not a list');
  const strange = Object.keys(value).find((key) => !KEYS.includes(key));
  if (strange !== undefined) fail(`it has the key ${quote(strange)}, which is not understood`);
  const version = own(value, "version");
  if (version !== undefined && version !== "1.0")
    fail(`its version is ${quote(version)}, must be "1.0"`);
  const fields = new Fields(where, "tokenizer", value);
  const part = (name: string): Fields | undefined => {
    const found = own(value, name);
    return found === undefined || found === null ? undefined : Fields.of(where, name, found);
  };
  for (const name of ["truncation", "padding"]) part(name);
  const model = Fields.of(where, "model", own(value, "model"));
  const vocabulary = readVocabulary(where, model);
  const added = readAddedTokens(fields, vocabulary.ids);
  const [normalizer, preTokenizer] = [part("normalizer"), part("pre_tokenizer")];
  const normalizers = normalizer ? readNormalizers(normalizer) : [];
  for (const { content, normalized } of added) {
    if (normalized && normalizers.reduce((text, { change }) => change(text), content) === "") {
      normalizer?.refuseUnsupported(`nothing to leave of the added token ${quote(content)}`);
    }
  }
  const stages = preTokenizer ? readPreTokenizer(preTokenizer) : [];
  // What was changed before may hold several places that stand for the text's first one.
  if (preTokenizer && looksAtStart(stages, normalizers.length > 0)) {
    preTokenizer.refuseUnsupported('`prepend_scheme` "first" behind other changes of the text');
  }
  const encoder = readModel(where, model, vocabulary.ids);
  const postProcessor = part("post_processor");
  const decoder = part("decoder");
  const steps = decoder && readDecoder(decoder);

  const addedById = new Map(added.map((token) => [token.id, token]));
  const addedIds = new Map(added.map(({ content, id }) => [content, id]));
  const special = new Set(added.filter((token) => token.special).map(({ content }) => content));
  const unknown = model.textOrNone("unk_token");
  return {
    pipeline: new Pipeline(added, normalizers, stages, encoder),
    around: postProcessor ? readPostProcessor(postProcessor) : { before: [], behind: [] },
    size: added.reduce((most, { id }) => Math.max(most, id), vocabulary.largest) + 1,
    unknownId: unknown === undefined ? undefined : vocabulary.ids.get(unknown),
    idOf: (token) => addedIds.get(token) ?? vocabulary.ids.get(token),
    decode(ids, mode) {
      const tokens = ids
        .map((id) => addedById.get(id)?.content ?? vocabulary.tokenOf(id))
        .filter((token) => token !== undefined)
        .filter((token) => mode === "keep all" || !special.has(token));
      if (!steps) return tokens.join(" ");
      return steps.reduce((now, step) => step(now), tokens).join("");
    },
  };
}

interface Vocabulary {
  readonly ids: ReadonlyMap<string, number>;
  /** The largest id. */
  readonly largest: number;
  tokenOf(id: number): string | undefined;
}

function readVocabulary(where: string, model: Fields): Vocabulary {
  const type = model.get("type");
  // The oldest files do not name the type.
  const isBytePair = type === "BPE" || (type === undefined && model.get("merges") !== undefined);
  if (!isBytePair) model.refuseUnsupported(`the type ${quote(type ?? null)}, not "BPE"`);
  const ids = new Map<string, number>();
  let largest = -1;
  const vocabulary = model.get("vocab");
  if (!isJsonObject(vocabulary)) {
    model.refuse("has no object of tokens as its `vocab`; fetch it again");
  }
  // Of 10^5 tokens, keys and look-ups take a third of the time of values or entries.
  for (const token of Object.keys(vocabulary)) {
    const id = vocabulary[token] as number;
    if (!Number.isInteger(id) || id < 0 || id >= 2 ** 31 - 1) {
      throw new PenjingError(
        where,
        `the id of token ${quote(token)} is ${quote(id)}, not a whole number from 0 to 2^31 - 2; fetch the file again.`,
      );
    }
    ids.set(token, id);
    if (id > largest) largest = id;
  }
  if (largest < 0) throw new PenjingError(where, "its vocabulary is empty; fetch the file again.");
  refuseSharedIds(where, ids, largest);
  let tokens: Map<number, string> | undefined;
  return {
    ids,
    largest,
    tokenOf(id) {
      tokens ??= new Map(Array.from(ids, ([token, its]) => [its, token]));
      return tokens.get(id);
    },
  };
}

/** Refuses a vocabulary of which two tokens have one id: which of them it decodes to is unclear. */
function refuseSharedIds(where: string, ids: ReadonlyMap<string, number>, largest: number): void {
  const isDense = largest < 8 * ids.size + 1024;
  const seen = isDense ? new Uint8Array(largest + 1) : new Set<number>();
  for (const [token, id] of ids) {
    const isSeen = seen instanceof Set ? seen.has(id) : seen[id] === 1;
    if (isSeen) {
      const [other] = [...ids].find(([, its]) => its === id)!;
      throw new PenjingError(
        where,
        `its tokens ${quote(other)} and ${quote(token)} both have the id ${id}; fetch the file again.`,
      );
    }
    if (seen instanceof Set) seen.add(id);
    else seen[id] = 1;
  }
}

function readModel(
  where: string,
  model: Fields,
  tokenIds: ReadonlyMap<string, number>,
): BytePairEncoder {
  const dropout = model.get("dropout") ?? 0;
  if (dropout !== 0) model.refuseUnsupported("`dropout`, which draws ids at random");
  for (const name of ["continuing_subword_prefix", "end_of_word_suffix"]) {
    if (model.textOrNone(name)) model.refuseUnsupported(`\`${name}\` ${quote(model.get(name))}`);
  }
  return new BytePairEncoder(where, {
    tokenIds,
    merges: readMerges(model),
    unknown: model.textOrNone("unk_token"),
    fuseUnknown: model.flag("fuse_unk", false),
    byteFallback: model.flag("byte_fallback", false),
    ignoreMerges: model.flag("ignore_merges", false),
  });
}
