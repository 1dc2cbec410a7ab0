/** A model's tokenizer as the keys of a GGUF file: what `makeTokenizerTexts` makes files of. */
import { PenjingError } from "../../../errors.js";
import type { Folder } from "../../../platform/files.js";
import { quote } from "../../../quote.js";
import { isJsonObject, type JsonObject, own } from "../../json.js";
import { loadTokenizer, MAX_TOKENIZER_BYTES, readSettings } from "../../tokenizer.js";
import { PRE_TOKENIZERS } from "../pre-tokenizers.js";
import { type Parsed, TOKEN, type ToldTokenizer, type VocabularyToken } from "./parsed.js";
import { sentencePieceKeys } from "./pieces.js";
import { findPre, isByteLevel } from "./pre.js";
import { templateKeys } from "./template.js";
import type { KeyValues } from "./values.js";

const PREFIX = "tokenizer.ggml.";

/** Tokens that end a text for which there are keys. */
const ENDINGS = 3;

export interface TokenizerOptions {
  /** Rows of the embedding: so many tokens are written. */
  readonly rows: number;
  /** A name for the pre-tokenizer. @default the one that fits tokenizer.json */
  readonly pre?: string | undefined;
}

/**
 * The keys of a folder's tokenizer and chat template. A folder without a tokenizer gives a file without
 * one, and a note.
 *
 * @throws PenjingError when the tokenizer is damaged or not supported, or a GGUF file has no words for it
 */
export async function tokenizerKeys(
  folder: Folder,
  { rows, pre }: TokenizerOptions,
): Promise<ToldTokenizer> {
  const name = "tokenizer.json";
  if (!(await folder.has(name)) && !(await folder.has("tokenizer.model"))) {
    return {
      keys: { [`${PREFIX}model`]: ["STRING", "none"] },
      notes: [`${folder.path} has no tokenizer, and so has the file: it takes ids of tokens alone`],
    };
  }
  const tokenizer = await loadTokenizer(folder);
  const settings = (await readSettings(folder, "tokenizer_config.json")) ?? {};
  const config = (await readSettings(folder, "config.json")) ?? {};
  const definition = JSON.parse(await folder.readText(name, MAX_TOKENIZER_BYTES)) as JsonObject;
  const parsed = parse(`${folder.path}/${name}`, definition);
  const { where, tokens } = parsed;
  if (tokens.length > rows) {
    throw new PenjingError(
      where,
      `it has ${tokens.length} tokens, but the embedding only ${rows} rows, and a GGUF file has one for each; take both from the same model.`,
    );
  }
  tokens.length = rows;
  const isBytes = isByteLevel(parsed.preTokenizer);
  const kind = isBytes ? bytePairKeys(parsed, pre) : sentencePieceKeys(parsed);
  const named = (value: unknown) => idNamed(parsed, value);
  const ids = {
    bos: tokenizer.bosId,
    eos: tokenizer.eosIds[0],
    eot: tokenizer.eosIds[1],
    eom: tokenizer.eosIds[2],
    unknown: named(own(settings, "unk_token")) ?? named(own(parsed.model, "unk_token")),
    padding: named(own(settings, "pad_token")) ?? idIn(config, "pad_token_id", rows),
  };
  const around = [...tokenizer.encode("", { addSpecialTokens: true })];
  const [before, behind] = aroundOf(around, ids.bos, ids.eos, where);
  return {
    keys: {
      ...kind.keys,
      ...tokenKeys(parsed),
      ...idKeys(ids),
      [`${PREFIX}add_bos_token`]: ["BOOL", before],
      [`${PREFIX}add_eos_token`]: ["BOOL", behind],
      ...(await templateKeys(folder, settings)),
    },
    notes: [...kind.notes, ...strippingNotes(definition), ...endingNotes(tokenizer.eosIds)],
  };
}

function parse(where: string, value: JsonObject): Parsed {
  const model = value.model as JsonObject;
  const vocab = model.vocab as Readonly<Record<string, number>>;
  const unknown = own(model, "unk_token");
  const isBytes = own(model, "byte_fallback") === true;
  const tokens: (VocabularyToken | undefined)[] = [];
  const typeOf = (content: string, usual: number): number => {
    // Tokenizers over bytes know every text.
    if (!isBytes) return usual;
    if (content === unknown) return TOKEN.unknown;
    return /^<0x[0-9A-F]{2}>$/.test(content) ? TOKEN.byte : usual;
  };
  for (const content of Object.keys(vocab)) {
    tokens[vocab[content]] = { content, type: typeOf(content, TOKEN.normal) };
  }
  for (const added of (value.added_tokens ?? []) as readonly JsonObject[]) {
    const content = String(added.content);
    const usual = added.special === true ? TOKEN.control : TOKEN.userDefined;
    tokens[Number(added.id)] = { content, type: typeOf(content, usual) };
  }
  const merges = ((model.merges ?? []) as readonly (string | readonly [string, string])[]).map(
    (merge): readonly [string, string] => {
      if (typeof merge !== "string") return merge;
      const at = merge.indexOf(" ");
      return [merge.slice(0, at), merge.slice(at + 1)];
    },
  );
  return {
    ...{ where, model, tokens, merges },
    normalizer: value.normalizer,
    preTokenizer: value.pre_tokenizer,
  };
}

/** The id of a token that a file names, as text or as an object. */
function idNamed({ tokens }: Parsed, value: unknown): number | undefined {
  const content = isJsonObject(value) ? own(value, "content") : value;
  if (typeof content !== "string") return undefined;
  const id = tokens.findIndex((token) => token?.content === content);
  return id < 0 ? undefined : id;
}

function idIn(config: JsonObject, key: string, rows: number): number | undefined {
  const id = own(config, key);
  return Number.isInteger(id) && (id as number) >= 0 && (id as number) < rows
    ? (id as number)
    : undefined;
}

function idKeys(ids: Readonly<Record<string, number | undefined>>): KeyValues {
  const given = Object.entries(ids).filter(([, id]) => id !== undefined);
  return Object.fromEntries(
    given.map(([name, id]) => [`${PREFIX}${name}_token_id`, ["U32", id!] as const]),
  );
}

/** Whether a BOS token stands before a text and an EOS token behind it. */
function aroundOf(
  around: readonly number[],
  bos: number | undefined,
  eos: number | undefined,
  where: string,
): readonly [before: boolean, behind: boolean] {
  const before = around.length > 0 && around[0] === bos;
  const rest = before ? around.slice(1) : around;
  if (rest.length === 0) return [before, false];
  if (rest.length === 1 && rest[0] === eos) return [before, true];
  throw new PenjingError(
    where,
    `it puts the tokens ${around.join(", ")} around a text, which a GGUF file cannot say: only one BOS token before and one EOS token behind; change its post_processor.`,
  );
}

/** Tokens and their types, a filling one in each gap. */
function tokenKeys({ tokens }: Parsed): KeyValues {
  const contents = Array.from(tokens, (token, id) => token?.content ?? `[PAD${id}]`);
  const types = Array.from(tokens, (token) => token?.type ?? TOKEN.unused);
  return {
    [`${PREFIX}tokens`]: ["STRING", contents],
    [`${PREFIX}token_type`]: ["I32", types],
  };
}

function bytePairKeys(parsed: Parsed, pre: string | undefined): ToldTokenizer {
  const { where, model, normalizer, preTokenizer, merges } = parsed;
  const ignoresMerges = own(model, "ignore_merges") === true;
  const found = findPre({ preTokenizer, normalizer, ignoresMerges }, pre);
  const name = pre ?? found?.name;
  if (name === undefined) {
    throw new PenjingError(
      where,
      "its pre-tokenizer and normalizer are none that llama.cpp has a name for here, and under another name it would split text otherwise; give the name as `ggufPre` if llama.cpp has one.",
    );
  }
  const odd = merges.find(([left]) => left.includes(" "));
  if (odd) {
    throw new PenjingError(
      where,
      `it merges the token ${quote(odd[0])}, which holds a space, and a GGUF file sets the two tokens of a merge apart by one; choose another layout.`,
    );
  }
  return {
    keys: {
      [`${PREFIX}model`]: ["STRING", "gpt2"],
      [`${PREFIX}pre`]: ["STRING", name],
      [`${PREFIX}merges`]: ["STRING", merges.map(([left, right]) => `${left} ${right}`)],
    },
    notes: [
      ...(found?.dropsNormalizer
        ? ["its tokenizer brings text into the form NFC first, which llama.cpp does not do"]
        : []),
      ...(pre === undefined || found ? [] : [strangeNote(pre)]),
    ],
  };
}

/** What is said of a pre-tokenizer's name that was given and is not known to fit. */
function strangeNote(pre: string): string {
  return PRE_TOKENIZERS.has(pre)
    ? `the pre-tokenizer ${quote(pre)} splits text otherwise than tokenizer.json does`
    : `the pre-tokenizer ${quote(pre)} is not known here, and llama.cpp opens the file only if it knows it`;
}

/** What is said of tokens that end a text and have no key: there is one for texts, turns and messages. */
function endingNotes(ids: readonly number[]): string[] {
  if (ids.length <= ENDINGS) return [];
  return [
    `of the ${ids.length} tokens that end a text the file names ${ENDINGS}, and leaves out ${ids.slice(ENDINGS).join(", ")}`,
  ];
}

/** What is said of added tokens that take spaces beside them, or are found in whole words alone. */
function strippingNotes({ added_tokens = [] }: JsonObject): string[] {
  const added = added_tokens as readonly JsonObject[];
  const odd = added.filter(({ lstrip, rstrip, single_word }) => lstrip || rstrip || single_word);
  if (odd.length === 0) return [];
  return [
    `${odd.length} of its tokens, the first ${quote(odd[0].content)}, take the spaces beside them or only stand alone, which a GGUF file does not say`,
  ];
}
