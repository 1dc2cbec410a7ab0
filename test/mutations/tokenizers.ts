/** tokenizer.json and the settings beside it. */
import fc from "fast-check";
import * as assert from "uvu/assert";
import { loadTokenizer, type Tokenizer } from "../../src/checkpoint/tokenizer.js";
import { PenjingError } from "../../src/errors.js";
import { memoryFolder } from "../../src/platform/files.js";
import { CASES, type Case as Definition } from "../checkpoint/tokenizer/definitions.js";
import type { Draw } from "./draw.js";
import { jsonText, mutateJson, mutateTree, neutralText } from "./json.js";
import type { Case, Files, Kind } from "./kind.js";
import { TINY_TOKENIZER } from "./originals.js";
import { strictly } from "./strict.js";

const encode = (text: string) => new TextEncoder().encode(text);

/** Definitions that are right, with texts over their own characters. */
const DEFINITIONS = fc.sample(CASES, { numRuns: 60, seed: 7 });

/** Texts on which slow patterns are slow. */
const LONG_TEXTS = ["a".repeat(3000), `${" ".repeat(2000)}b`, "ab".repeat(2000), "é1 ".repeat(700)];

const PATTERNS = [
  ...[
    "(a+)+$",
    "(a|a)*b",
    "(a|b|ab)*c",
    "(?:a?){30}a{30}",
    "(a*)*",
    "(?:a*a*)*b",
    "^(([a-z])+.)+c$",
  ],
  ...["\\p{L}{1,100000}", "((a{1,1000}){1,1000}){1,1000}", "(?:(?:a{0,16}){0,16}){0,16}b"],
  ...["(((((a*)*)*)*)*)*b", "(?=(a+)+b)a", "(?<=a+)b", "(?<!a)b", "[", "(", ")", "*", "a{2,1}"],
  ...["\\", "\\k<x>", "(?<x>a)\\1", "(?#c)a", "[^]", "[]", "[a-", "[z-a]", "\\p{Nope}", "a{,5}"],
  ...["\\x{110000}", "\\ud800", "", "|", "|a", "(?i)a", "(?x: a )", "\\G", "\\K", "\\R", "\\X"],
  ...["a{99999999999}", "a++b", "a*+a", "(?>a*)a", "\u0000", "(?:".repeat(40) + ")".repeat(40)],
  `(?:${"a|".repeat(2000)}b)`,
  `[${"a-z".repeat(2000)}]`,
];

type Tree = Record<string, unknown>;

/** A definition that splits by a pattern of its own. */
function patterned(draw: Draw, definition: Tree): Tree {
  const pattern = { Regex: draw.pick(PATTERNS) };
  const part = draw.pick([
    { pre_tokenizer: { type: "Split", pattern, behavior: "Isolated", invert: draw.chance(0.3) } },
    { normalizer: { type: "Replace", pattern, content: draw.pick(["", "$1", "b"]) } },
    { decoder: { type: "Replace", pattern, content: "a" } },
  ]);
  return { ...definition, ...part };
}

interface Model {
  vocab: Record<string, unknown>;
  merges: unknown[];
}

/** Changes the vocabulary, the merges or the added tokens so that they do not fit. */
function mutateModel(draw: Draw, given: Tree): Tree {
  const definition = structuredClone(given);
  const { vocab, merges } = definition.model as Model;
  const added = definition.added_tokens as Tree[];
  const token = draw.pick(Object.keys(vocab));
  const token2 = draw.pick(Object.keys(vocab));
  const merge = draw.below(merges.length + 1);
  const one = added.length > 0 ? draw.pick(added) : undefined;
  draw.pick<() => void>([
    () => {
      vocab[token] = vocab[token2];
    },
    () => {
      vocab[token] = draw.pick<unknown>([-1, 1.5, 1e9, 2 ** 31 - 2, 2 ** 31, "1", null, 5000, [1]]);
    },
    () => {
      delete vocab[token];
    },
    () => {
      vocab[draw.pick(["__proto__", "", "\ud800", "constructor", "<0x41>", "<0xZZ>", "\n"])] = 4000;
    },
    () => {
      for (const name of Object.keys(vocab)) vocab[name] = Number(vocab[name]) + 1;
    },
    () => {
      merges[merge] = draw.pick<unknown>([
        ...[["zzz", "yyy"], ["a"], ["a", "b", "c"], "a b", "a", "a b c", "", 1, null, ["a", 1]],
        ...[["", "a"], [token, token2], `${token} ${token2}`],
      ]);
    },
    () => void merges.splice(merge, 1),
    () => void merges.splice(merge, 0, ...merges.slice(0, 3)),
    () => void merges.reverse(),
    () => {
      if (one) one.id = draw.pick<unknown>([0, -1, 1e9, 1.5, "0", null]);
    },
    () => {
      if (one) one.content = draw.pick(["", " ", token, "a", "\ud800", "x".repeat(2000)]);
    },
    () => {
      if (one) added.push({ ...one });
    },
    () => {
      added.push({
        ...TINY_TOKENIZER.added_tokens[0],
        content: "new",
        id: Object.keys(vocab).length,
      });
    },
    () => {
      const flags = definition.model as Tree;
      flags[draw.pick(["byte_fallback", "fuse_unk", "ignore_merges"])] = draw.pick([
        true,
        "a",
        1,
        null,
      ]);
    },
    () => {
      const flags = definition.model as Tree;
      flags.unk_token = draw.pick<unknown>([null, "nowhere", "", 1, token]);
    },
  ])();
  return definition;
}

/** Texts in, ids out; each of the ways to ask says the same, and every id is one of the tokenizer's. */
function askTokenizer(tokenizer: Tokenizer, texts: readonly string[]): number[][] {
  return texts.map((text) => {
    try {
      const ids = tokenizer.encode(text);
      let last: Int32Array | undefined;
      const steps = tokenizer.encodeSteps(text);
      for (let step = steps.next(); ; step = steps.next()) {
        if (!step.done) continue;
        last = step.value;
        break;
      }
      assert.equal([...last], [...ids]);
      const around = tokenizer.encode(text, { addSpecialTokens: true });
      for (const id of around) {
        assert.ok(Number.isInteger(id) && id >= 0, `the id ${id}`);
      }
      for (const id of ids) assert.ok(id < tokenizer.vocabSize, `the id ${id} of ${text}`);
      assert.type(tokenizer.decode(around), "string");
      assert.type(tokenizer.decode(around, { skipSpecialTokens: true }), "string");
      return [...ids];
    } catch (error) {
      if (error instanceof PenjingError) return [-1];
      throw error;
    }
  });
}

/** Ids of the texts by a definition as it was before. */
const plainIds = new Map<Definition, Promise<number[][]>>();
function idsBefore(one: Definition): Promise<number[][]> {
  const load = async () => {
    try {
      const files = { "tokenizer.json": one.definition };
      return askTokenizer(await loadTokenizer(memoryFolder(files)), one.texts);
    } catch (error) {
      if (error instanceof PenjingError) return [];
      throw error;
    }
  };
  const known = plainIds.get(one) ?? load();
  plainIds.set(one, known);
  return known;
}

/** A tokenizer's case, with the texts that it is asked for. */
export interface TokenizerCase extends Case {
  readonly ownTexts: readonly string[];
}

async function tokenizerCase(draw: Draw): Promise<TokenizerCase> {
  const one = draw.pick(DEFINITIONS);
  const definition = JSON.parse(one.definition) as Tree;
  const isNeutral = draw.chance(0.06);
  const bytes = isNeutral
    ? encode(neutralText(draw, definition))
    : draw.pick<() => Uint8Array>([
        () => mutateJson(draw, definition),
        () => encode(jsonText(mutateTree(draw, withoutModel(definition)))),
        () => encode(jsonText(mutateTree(draw, withoutModel(definition)))),
        () => encode(jsonText(mutateModel(draw, definition))),
        () => encode(jsonText(patterned(draw, definition))),
      ])();
  const files: Files = { "tokenizer.json": bytes };
  const texts = [...one.texts, draw.pick(LONG_TEXTS)];
  return {
    files,
    ownTexts: one.texts,
    async read() {
      const tokenizer = await loadTokenizer(memoryFolder(files));
      strictly(bytes);
      const ids = askTokenizer(tokenizer, texts);
      const before = await idsBefore(one);
      if (isNeutral) assert.equal(ids.slice(0, one.texts.length), before);
    },
  };
}

/** The same with the tiny model's vocabulary, so that the other parts are changed more often. */
function withoutModel(definition: Tree): Tree {
  const { special_tokens: _, ...others } = definition;
  return { ...others, added_tokens: [], model: { ...TINY_TOKENIZER.model } };
}

const SETTINGS = {
  "tokenizer_config.json": {
    ...{ add_bos_token: true, add_eos_token: false, bos_token: "<s>", model_max_length: 16 },
    eos_token: { content: "<unk>", lstrip: false, normalized: false },
  },
  "generation_config.json": { bos_token_id: 1, eos_token_id: [0, 1], do_sample: true },
  "config.json": { model_type: "llama", bos_token_id: 1, eos_token_id: 0 },
};

/** The files beside tokenizer.json. */
async function settingsCase(draw: Draw): Promise<Case> {
  const names = Object.keys(SETTINGS) as (keyof typeof SETTINGS)[];
  const given = names.filter(() => draw.chance(0.7));
  const files: Record<string, Uint8Array> = { "tokenizer.json": encode(jsonText(TINY_TOKENIZER)) };
  for (const name of given) files[name] = encode(jsonText(SETTINGS[name]));
  const name = draw.pick(names);
  files[name] = mutateJson(draw, SETTINGS[name]);
  return {
    files,
    async read() {
      const tokenizer = await loadTokenizer(memoryFolder(files));
      assert.equal([...tokenizer.encode("abc ab")], [8, 5, 6]);
      const { bosId, eosIds, vocabSize } = tokenizer;
      for (const id of [bosId ?? 0, ...eosIds]) {
        assert.ok(Number.isInteger(id) && id >= 0 && id < vocabSize, `the id ${id}`);
      }
      strictly(files[name]);
      askTokenizer(tokenizer, ["abc", "<s>ab"]);
    },
  };
}

export const tokenizers: Kind = { name: "tokenizer", share: 20, make: tokenizerCase };
export const settings: Kind = { name: "settings", share: 5, make: settingsCase };
