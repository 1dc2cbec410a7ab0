/** The tokenizer of a GGUF file as the files that the Hugging Face libraries read. */
import { PenjingError } from "../../errors.js";
import { quote } from "../../quote.js";
import type { Keys } from "./keys.js";
import { PRE_TOKENIZERS, type PreTokenizer } from "./pre-tokenizers.js";
import { mergesByScores } from "./sentence-pieces.js";

const PREFIX = "tokenizer.ggml.";
const MODEL = `${PREFIX}model`;
const PRE = `${PREFIX}pre`;
const TOKENS = `${PREFIX}tokens`;
const TEMPLATE = "tokenizer.chat_template";

/** ggml's types of tokens. */
const UNKNOWN = 2;
const CONTROL = 3;
const USER_DEFINED = 4;
const UNUSED = 5;
const BYTE = 6;
/** What converters fill a vocabulary up with, to the rows of the embedding. */
const FILLING = /^\[PAD\d+\]$/;

export const TOKENIZER_CURE =
  "give a folder that has the model's own tokenizer.json as `tokenizer`";

/** Whether a file says how text becomes tokens. */
export function hasTokenizer(keys: Keys): boolean {
  const model = keys.text(MODEL);
  return model !== undefined && model !== "none" && model !== "no_vocab";
}

/** Ids of tokens with a meaning, as config.json and tokenizer_config.json name them. */
export interface SpecialIds {
  readonly bos: number | undefined;
  /** All that end a text or a turn, the one of texts first. */
  readonly eos: readonly number[];
  readonly pad: number | undefined;
  readonly unk: number | undefined;
}

/** Where the file does not say: what llama.cpp takes. */
const SENTENCE_PIECE_IDS = { bos: 1, eos: 2, unk: 0 } as const;

/** Whether its tokens are SentencePiece's. */
function isSentencePiece(keys: Keys): boolean {
  return keys.text(MODEL) === "llama";
}

export function specialIds(keys: Keys): SpecialIds {
  const usual = isSentencePiece(keys) ? SENTENCE_PIECE_IDS : undefined;
  const id = (name: string, fallback?: number) => {
    const found = keys.whole(`${PREFIX}${name}_token_id`);
    // Some converters write the largest number for none.
    return found === 0xffffffff ? undefined : (found ?? fallback);
  };
  const ends = [id("eos", usual?.eos), id("eot"), id("eom")];
  return {
    bos: id("bos", usual?.bos),
    eos: [...new Set(ends.filter((one) => one !== undefined))],
    pad: id("padding"),
    unk: id("unknown", usual?.unk),
  };
}

/** A token of the vocabulary. */
interface Token {
  readonly id: number;
  readonly content: string;
  readonly type: number;
}

/** The tokens that have a meaning, in order of their ids. */
function readTokens(keys: Keys): Token[] {
  const list = keys.list(TOKENS) ?? keys.fail(TOKENS, "a list of texts");
  const types = keys.list(`${PREFIX}token_type`);
  if (types && types.length !== list.length) {
    keys.fail(`${PREFIX}token_type`, `a list of ${list.length} numbers, one for each token`);
  }
  const numbers = types?.numbers();
  const tokens = list
    .texts()
    .map((content, id) => ({ id, content, type: numbers?.[id] ?? 1 }))
    .filter(({ content, type }) => type !== UNUSED || !FILLING.test(content));
  const seen = new Map<string, number>();
  for (const { id, content } of tokens) {
    const other = seen.get(content);
    if (other !== undefined) {
      throw new PenjingError(
        keys.name,
        `its tokens ${other} and ${id} are both ${quote(content)}, so it is unclear which of them a text becomes; ${TOKENIZER_CURE}.`,
      );
    }
    seen.set(content, id);
  }
  return tokens;
}

function addedToken({ id, content, type }: Token): object {
  return {
    ...{ id, content, single_word: false, lstrip: false, rstrip: false },
    ...{ normalized: false, special: type !== USER_DEFINED },
  };
}

/** What is put around a text. */
interface Around {
  readonly bos: boolean;
  readonly eos: boolean;
}

function readAround(keys: Keys, pre: PreTokenizer | undefined): Around {
  const { bos, eos } = specialIds(keys);
  const usual = pre ? pre.addsBos === true : true;
  return {
    bos: bos !== undefined && keys.flag(`${PREFIX}add_bos_token`, usual),
    eos: eos.length > 0 && keys.flag(`${PREFIX}add_eos_token`, false),
  };
}

/**
 * The pre-tokenizer that the file names.
 *
 * @throws PenjingError for one that is not known
 */
function readPre(keys: Keys): PreTokenizer {
  const name = keys.text(PRE);
  const known = name === undefined ? undefined : PRE_TOKENIZERS.get(name);
  if (known) return known;
  const what =
    name === undefined
      ? `it has no key ${quote(PRE)}, which says how text is split into words`
      : `its pre-tokenizer is ${quote(name)}, which is not known here (known are ${[...PRE_TOKENIZERS.keys()].join(", ")})`;
  throw new PenjingError(keys.name, `${what}; ${TOKENIZER_CURE}.`);
}

/** The parts of tokenizer.json that depend on the kind of tokenizer. */
interface Parts {
  readonly normalizer: object | null;
  readonly pre_tokenizer: object | null;
  readonly decoder: object;
  readonly model: object;
  readonly around: Around;
}

function bytePairs(keys: Keys, tokens: readonly Token[]): Parts {
  const pre = readPre(keys);
  const merges = keys.list(`${PREFIX}merges`) ?? keys.fail(`${PREFIX}merges`, "a list of texts");
  const pairs = merges.texts().map((merge) => {
    // A token may begin with a space.
    const at = merge.indexOf(" ", 1);
    if (at < 0) keys.fail(`${PREFIX}merges`, `pairs of tokens, found ${quote(merge)}`);
    return [merge.slice(0, at), merge.slice(at + 1)];
  });
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true };
  const letters = { ...byteLevel, use_regex: pre.splitsWords === true };
  return {
    normalizer: pre.normalizer ?? null,
    pre_tokenizer:
      pre.steps.length > 0 ? { type: "Sequence", pretokenizers: [...pre.steps, letters] } : letters,
    decoder: { ...byteLevel, use_regex: true },
    model: bpe(tokens, pairs, { ignore_merges: pre.ignoreMerges === true }),
    around: readAround(keys, pre),
  };
}

function bpe(tokens: readonly Token[], merges: readonly (readonly string[])[], flags: object) {
  const vocab: Record<string, number> = Object.create(null);
  for (const { id, content } of tokens) vocab[content] = id;
  return {
    ...{ type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: null },
    ...{ end_of_word_suffix: null, fuse_unk: false, byte_fallback: false, ignore_merges: false },
    ...flags,
    ...{ vocab, merges },
  };
}

const SIGN = "\u2581";
/** Longest piece accepted, in characters; published ones have at most 100. */
const MAX_PIECE = 4096;

function sentencePieces(keys: Keys, tokens: readonly Token[]): Parts {
  const list = keys.list(`${PREFIX}scores`) ?? keys.fail(`${PREFIX}scores`, "a list of numbers");
  const size = keys.list(TOKENS)!.length;
  if (list.length !== size) {
    keys.fail(`${PREFIX}scores`, `a list of ${size} numbers, one for each token`);
  }
  const long = tokens.find(({ content }) => content.length > MAX_PIECE);
  if (long) {
    keys.fail(
      TOKENS,
      `a list of texts of at most ${MAX_PIECE} characters, as token ${long.id} is not`,
    );
  }
  const scores = list.numbers();
  const pieces = new Map(tokens.map(({ content, id }) => [content, { id, score: scores[id] }]));
  const made = tokens.filter(({ type }) => type === 1 || type === USER_DEFINED);
  const unknown = tokens.find(({ type }) => type === UNKNOWN);
  const prefixed = keys.flag(`${PREFIX}add_space_prefix`, true);
  const signs = { type: "Replace", pattern: { String: " " }, content: SIGN };
  const spaces = { type: "Replace", pattern: { String: SIGN }, content: " " };
  const strip = { type: "Strip", content: " ", start: 1, stop: 0 };
  return {
    normalizer: prefixed
      ? { type: "Sequence", normalizers: [{ type: "Prepend", prepend: SIGN }, signs] }
      : signs,
    pre_tokenizer: null,
    decoder: {
      type: "Sequence",
      decoders: [spaces, { type: "ByteFallback" }, { type: "Fuse" }, ...(prefixed ? [strip] : [])],
    },
    model: bpe(tokens, mergesByScores(pieces, made), {
      ...{ unk_token: unknown?.content ?? null, fuse_unk: true },
      byte_fallback: tokens.some(({ type }) => type === BYTE),
    }),
    around: readAround(keys, undefined),
  };
}

/** What puts tokens around a text. */
function postProcessor(
  { bos, eos }: Around,
  ids: SpecialIds,
  contentOf: (id: number) => string,
): object | null {
  if (!bos && !eos) return null;
  const before = bos ? [ids.bos!] : [];
  const behind = eos ? [ids.eos[0]] : [];
  const piece = (id: number, type: number) => ({
    SpecialToken: { id: contentOf(id), type_id: type },
  });
  const text = (name: string, type: number) => [
    ...before.map((id) => piece(id, type)),
    { Sequence: { id: name, type_id: type } },
    ...behind.map((id) => piece(id, type)),
  ];
  return {
    type: "TemplateProcessing",
    single: text("A", 0),
    pair: [...text("A", 0), ...text("B", 1)],
    special_tokens: Object.fromEntries(
      [...before, ...behind].map((id) => {
        const content = contentOf(id);
        return [content, { id: content, ids: [id], tokens: [content] }];
      }),
    ),
  };
}

/** The texts of the tokenizer's files. */
export interface TokenizerTexts {
  readonly "tokenizer.json": string;
  readonly "tokenizer_config.json": string;
}

/**
 * Makes the files of a tokenizer of the keys of a file.
 *
 * @param context the model's longest text, in tokens; undefined when it is not known
 * @throws PenjingError for a kind of tokenizer that is not known, and for contradictions
 */
export function makeTokenizerTexts(keys: Keys, context: number | undefined): TokenizerTexts {
  const kind = keys.text(MODEL);
  if (kind !== "gpt2" && kind !== "llama") {
    throw new PenjingError(
      keys.name,
      `its tokenizer is of the kind ${quote(kind ?? null)}; "gpt2" (byte pairs) and "llama" (SentencePiece with scores) are read: ${TOKENIZER_CURE}.`,
    );
  }
  const tokens = readTokens(keys);
  const { around, ...parts } =
    kind === "gpt2" ? bytePairs(keys, tokens) : sentencePieces(keys, tokens);
  const ids = specialIds(keys);
  const byId = new Map(tokens.map(({ id, content }) => [id, content]));
  const contentOf = (id: number): string => {
    const content = byId.get(id);
    if (content !== undefined) return content;
    throw new PenjingError(
      keys.name,
      `it names the token ${id}, which its vocabulary of ${byId.size} lacks; ${TOKENIZER_CURE}.`,
    );
  };
  const added = tokens.filter(({ type }) => [UNKNOWN, CONTROL, USER_DEFINED].includes(type));
  const definition = {
    ...{ version: "1.0", truncation: null, padding: null },
    added_tokens: added.map(addedToken),
    ...parts,
    post_processor: postProcessor(around, ids, contentOf),
  };
  const named = (key: string, id: number | undefined) =>
    id === undefined ? {} : { [key]: contentOf(id) };
  const settings = {
    tokenizer_class: "PreTrainedTokenizerFast",
    ...{ add_bos_token: around.bos, add_eos_token: around.eos },
    ...named("bos_token", ids.bos),
    ...named("eos_token", ids.eos[0]),
    ...named("unk_token", ids.unk),
    ...named("pad_token", ids.pad),
    clean_up_tokenization_spaces: false,
    ...(context !== undefined && { model_max_length: context }),
    ...chatTemplate(keys),
  };
  return {
    "tokenizer.json": JSON.stringify(definition),
    "tokenizer_config.json": `${JSON.stringify(settings, null, 2)}\n`,
  };
}

/** The chat templates, as tokenizer_config.json has them: one, or several with names. */
function chatTemplate(keys: Keys): object {
  const only = keys.text(TEMPLATE);
  const others = keys
    .names()
    .filter((key) => key.startsWith(`${TEMPLATE}.`))
    .map((key) => ({ name: key.slice(TEMPLATE.length + 1), template: keys.text(key) }));
  if (others.length === 0) return only === undefined ? {} : { chat_template: only };
  const first = only === undefined ? [] : [{ name: "default", template: only }];
  return { chat_template: [...first, ...others] };
}
