import * as fs from "node:fs/promises";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openSafetensors } from "../../src/checkpoint/safetensors.js";
import { BytePairEncoder } from "../../src/checkpoint/tokenizer/bpe.js";
import { loadTokenizer } from "../../src/checkpoint/tokenizer.js";
import { memoryFolder, openFile, openFolder } from "../../src/platform/files.js";
import { note, sharedPath, sharedTest } from "../shared.js";
import { refused } from "./crafted.js";
import { LLAMA_DECODER } from "./tokenizer/definitions.js";

const test = suite("tokenizer");

/** Byte-pair encoding as its definition reads: merge the best pair, look at all pairs again. */
function naive(word: string, merges: readonly (readonly [string, string])[]): string[] {
  const pieces = Array.from(word);
  for (;;) {
    let best = -1;
    let bestRank = Number.POSITIVE_INFINITY;
    for (let i = 0; i + 1 < pieces.length; i++) {
      const rank = merges.findLastIndex(([l, r]) => l === pieces[i] && r === pieces[i + 1]);
      if (rank >= 0 && rank < bestRank) {
        best = i;
        bestRank = rank;
      }
    }
    if (best < 0) return pieces;
    pieces.splice(best, 2, pieces[best] + pieces[best + 1]);
  }
}

test("our byte-pair encoder does what the definition says", () => {
  // Each merge joins two of the tokens that exist before it, as training does; some repeat.
  const merges = fc.array(fc.tuple(fc.nat(29), fc.nat(29)), { maxLength: 25 }).map((picks) => {
    const tokens = ["a", "b"];
    return picks.map(([i, j]): [string, string] => {
      const pair: [string, string] = [tokens[i % tokens.length], tokens[j % tokens.length]];
      tokens.push(pair[0] + pair[1]);
      return pair;
    });
  });
  const letter = fc.oneof(
    { weight: 20, arbitrary: fc.constantFrom("a", "b") },
    { weight: 1, arbitrary: fc.constantFrom("😀", "x") },
  );
  const words = fc.array(letter, { maxLength: 60, size: "max" }).map((letters) => letters.join(""));
  fc.assert(
    fc.property(merges, words, (table, word) => {
      const tokens = ["a", "b", "😀", ...table.map(([l, r]) => l + r)];
      const tokenIds = new Map(tokens.map((token, id) => [token, id]));
      const encoder = new BytePairEncoder("memory", { tokenIds, merges: table });
      const ids: number[] = [];
      for (const _ of encoder.encode(word, ids));
      // What no token covers vanishes before anything merges.
      const known = word.replaceAll("x", "");
      assert.equal(
        ids.map((id) => tokens[id]),
        naive(known, table),
      );
    }),
    { numRuns: 1500 },
  );
});

/** A byte-fallback tokenizer over a few letters, with or without byte tokens. */
function definition(bytes: boolean, changes: object = {}): string {
  const names = ["<unk>", "<s>", "</s>", "▁", "a", "b", "ab", "▁ab"];
  if (bytes) {
    for (let i = 0; i < 256; i++)
      names.push(`<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`);
  }
  const special = {
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  };
  const pattern = { String: " " };
  return JSON.stringify({
    added_tokens: [0, 1, 2].map((id) => ({ id, content: names[id], ...special })),
    normalizer: { type: "Replace", pattern, content: "▁" },
    pre_tokenizer: null,
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
      pair: [],
      special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
    },
    // This one keeps the blank at the start.
    decoder: { ...LLAMA_DECODER, decoders: LLAMA_DECODER.decoders.slice(0, 3) },
    model: {
      type: "BPE",
      unk_token: "<unk>",
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(names.map((name, id) => [name, id])),
      merges: ["a b", "▁ ab"],
    },
    ...changes,
  });
}

test("encodes, decodes, counts what is unknown", async () => {
  const lossless = await loadTokenizer(memoryFolder({ "tokenizer.json": definition(true) }));
  assert.is(lossless.vocabSize, 264);
  assert.equal([...lossless.encode("ab ab")], [6, 7]);
  assert.instance(lossless.encode("ab"), Int32Array);
  assert.equal([...lossless.encode("ab", { addSpecialTokens: true })], [1, 6]);
  assert.is(lossless.decode([1, 6, 2]), "<s>ab</s>");
  assert.is(lossless.decode([1, 6, 2], { skipSpecialTokens: true }), "ab");
  assert.equal([...lossless.encode("")], []);
  assert.is(lossless.decode([]), "");
  assert.is(lossless.decode(Int32Array.of(6, 9999, -1, 6)), "abab", "ids outside the vocabulary");
  for (const text of ["é\n", "\ufeffab", "a\ufeff", "😀 , . 's", "  ", "\0"]) {
    const ids = lossless.encode(text);
    assert.is(lossless.decode(ids), text, JSON.stringify(text));
    assert.is(lossless.countUnknown(ids), 0);
  }
  fc.assert(
    fc.property(fc.string({ unit: "grapheme", maxLength: 300 }), (text) => {
      if (/[▁<]/.test(text)) return;
      assert.is(lossless.decode(lossless.encode(text)), text);
    }),
    { numRuns: 200 },
  );
  const lossy = await loadTokenizer(memoryFolder({ "tokenizer.json": definition(false) }));
  const ids = lossy.encode("xyzabx");
  assert.equal([...ids], [0, 6, 0], "neighbouring unknown characters are one token");
  assert.is(lossy.countUnknown(ids), 2);
  assert.is(lossy.unknownId, 0);
});

/** A tokenizer of the letters a and b. */
function bytePair(changes: object, others: object = {}): string {
  const model = { type: "BPE", vocab: { a: 0, b: 1, ab: 2 }, merges: ["a b"], ...changes };
  return JSON.stringify({ added_tokens: [], model, ...others });
}

function splitBy(pre_tokenizer: object): string {
  return bytePair({}, { pre_tokenizer });
}

function splitAt(Regex: string): string {
  return splitBy({ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false });
}

function withAdded(...tokens: object[]): string {
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  const added_tokens = tokens.map((token) => ({
    content: "<x>",
    special: false,
    ...flags,
    ...token,
  }));
  return bytePair({}, { added_tokens });
}

test("finds the ids that begin and end a text", async () => {
  const ends = async (files: Record<string, object>) => {
    const texts = Object.entries(files).map(([name, value]) => [
      `${name}.json`,
      JSON.stringify(value),
    ]);
    const folder = memoryFolder({
      "tokenizer.json": definition(true),
      ...Object.fromEntries(texts),
    });
    const { bosId, eosIds } = await loadTokenizer(folder);
    return [bosId, eosIds];
  };
  assert.equal(await ends({}), [undefined, []]);
  assert.equal(await ends({ config: { bos_token_id: 1, eos_token_id: 2 } }), [1, [2]]);
  assert.equal(
    await ends({
      tokenizer_config: { bos_token: { content: "<s>" }, eos_token: "</s>" },
      generation_config: { eos_token_id: [2, 4] },
      config: { eos_token_id: 5 },
    }),
    [1, [2, 4, 5]],
  );
  const none = {
    tokenizer_config: { bos_token: null },
    config: { bos_token_id: 1, eos_token_id: 99999 },
  };
  assert.equal(await ends(none), [undefined, []]);
});

const MALFORMED: readonly (readonly [what: string, text: string, message: RegExp])[] = [
  ["no JSON", "{", /JSON cannot be read/],
  ["null", "null", /it holds null/],
  ["a list", "[]", /it holds \[\]/],
  ["no model", "{}", /"model" is not an object/],
  ["deep nesting", "[".repeat(1e5), /deeper/],
  ["a model of null type", bytePair({ type: null }), /the type null, not "BPE"/],
  ["a strange key", definition(true, { extra: 1 }), /the key "extra", which is not understood/],
  ["another version", definition(true, { version: "2.0" }), /version is "2\.0", must be "1\.0"/],
  ["a list as padding", definition(true, { padding: [] }), /`padding` is \[\], must be an object/],
  [
    "an unknown model",
    definition(true, { model: { type: "Magic" } }),
    /the type "Magic", not "BPE"/,
  ],
  [
    "a Unigram model",
    definition(true, { model: { type: "Unigram", vocab: [["a", 0]] } }),
    /`model` is or has the type "Unigram"/,
  ],
  ["a model without merges", bytePair({ merges: undefined }), /`model.merges` is undefined/],
  ["merges that are no list", bytePair({ merges: 5 }), /`model.merges` is 5, must be a list/],
  ["a number as merge", bytePair({ merges: [1] }), /has 1 among its merges/],
  ["a merge of three", bytePair({ merges: ["a b", "a b c"] }), /has "a b c" among its merges/],
  ["a merge of one", bytePair({ merges: [["a"]] }), /has \["a"\] among its merges/],
  ["a merge of no token", bytePair({ merges: ["a c"] }), /merges name the token "c", which/],
  ["a merge to no token", bytePair({ merges: ["b a"] }), /merges name the token "ba", which/],
  ["a text id", bytePair({ vocab: { a: "0" } }), /id of token "a" is "0"/],
  ["a negative id", bytePair({ vocab: { a: -1 } }), /is -1/],
  ["a huge id", bytePair({ vocab: { a: 2 ** 31 } }), /is 2147483648/],
  [
    "two tokens of one id",
    bytePair({ vocab: { a: 0, b: 1, c: 0 } }),
    /"a" and "c" both have the id 0/,
  ],
  ["two of one large id", bytePair({ vocab: { a: 9e8, b: 9e8 } }), /"a" and "b" both have the id/],
  ["an empty vocabulary", bytePair({ vocab: {} }), /empty/],
  ["random merges", bytePair({ dropout: 0.1 }), /`dropout`, which draws ids/],
  ["a prefix of subwords", bytePair({ continuing_subword_prefix: "##" }), /subword_prefix` "##"/],
  ["a suffix of words", bytePair({ end_of_word_suffix: "</w>" }), /end_of_word_suffix` "<\/w>"/],
  ["a flag that is none", bytePair({ fuse_unk: "yes" }), /`model.fuse_unk` is "yes", must be true/],
  ["an unknown normalizer", bytePair({}, { normalizer: { type: "Magic" } }), /normalizer "Magic"/],
  [
    "a BertNormalizer",
    bytePair({}, { normalizer: { type: "BertNormalizer" } }),
    /"BertNormalizer"/,
  ],
  ["an unknown pre-tokenizer", splitBy({ type: "Magic" }), /pre-tokenizer "Magic"/],
  [
    "an unknown behaviour",
    splitBy({ type: "Split", pattern: { String: "-" }, behavior: "Merged", invert: false }),
    /`pre_tokenizer.behavior` is "Merged", must be one of Removed, Isolated/,
  ],
  [
    "a split without invert",
    splitBy({ type: "Split", pattern: { String: "-" }, behavior: "Removed" }),
    /`pre_tokenizer.invert` is undefined/,
  ],
  ["digits without their flag", splitBy({ type: "Digits" }), /individual_digits` is undefined/],
  [
    "two Metaspace rules at odds",
    splitBy({ type: "Metaspace", replacement: "_", add_prefix_space: false }),
    /both to add a space in front and not to/,
  ],
  ["a long replacement", splitBy({ type: "Metaspace", replacement: "__" }), /one character/],
  ["an unknown decoder", bytePair({}, { decoder: { type: "Magic" } }), /decoder "Magic"/],
  ["an unknown post-processor", bytePair({}, { post_processor: { type: "X" } }), /processor "X"/],
  [
    "added tokens that are no list",
    definition(true, { added_tokens: {} }),
    /"added_tokens" is not a list/,
  ],
  [
    "an added token of another id",
    withAdded({ id: 1, content: "b" }, { id: 7 }),
    /the id 7, but.*takes 3/,
  ],
  ["an added token twice", withAdded({ id: 3 }, { id: 4 }), /repeats the token "<x>"/],
  ["an added token without flags", withAdded({ id: 3, lstrip: undefined }), /lstrip` is undefined/],
  [
    "a template of an unknown token",
    bytePair(
      {},
      {
        post_processor: {
          type: "TemplateProcessing",
          single: [{ SpecialToken: { id: "<none>" } }, { Sequence: { id: "A" } }],
          special_tokens: {},
        },
      },
    ),
    /puts "<none>" around a text, which its special_tokens lack/,
  ],
  ["a pattern with a back reference", splitAt("(a)\\1"), /pattern "\(a\)\\\\1" uses "\\1"/],
  ["a pattern with a word boundary", splitAt("a\\b"), /uses "\\b"/],
  ["a repeated group", splitAt("(?:a+)+b"), /a group repeated more than 16 times/],
  ["an unknown property", splitAt("\\p{Magic}"), /the property "{Magic}"/],
  ["an unclosed group", splitAt("(a"), /a "\(" without a "\)"/],
  ["an unclosed class", splitAt("[a"), /an unfinished part/],
];

for (const [what, text, message] of MALFORMED) {
  test(`refuses ${what}`, async () => {
    const folder = memoryFolder({ "tokenizer.json": text });
    const error = await refused(() => loadTokenizer(folder), message);
    assert.match(error.where, /tokenizer\.json/);
    assert.ok(error.message.length <= 500);
  });
}

test("a text that needs an unknown token which the vocabulary lacks is refused", async () => {
  const text = bytePair({ unk_token: "<unk>" });
  const tokenizer = await loadTokenizer(memoryFolder({ "tokenizer.json": text }));
  assert.equal([...tokenizer.encode("aab")], [0, 2]);
  await refused(() => tokenizer.encode("ac"), /"c", for which it has no token/);
  const silent = await loadTokenizer(memoryFolder({ "tokenizer.json": bytePair({}) }));
  assert.equal([...silent.encode("acb")], [2], "without one, what is unknown vanishes");
});

test("a folder without tokenizer.json, or with settings that are no object", async () => {
  await refused(() => loadTokenizer(memoryFolder({})), /no tokenizer.json; download it/);
  await refused(
    () => loadTokenizer(memoryFolder({ "tokenizer.model": "" })),
    /older format.*save_pretrained/,
  );
  const files = { "tokenizer.json": definition(true), "tokenizer_config.json": "[]" };
  await refused(
    () => loadTokenizer(memoryFolder(files)),
    /tokenizer_config.json.*must hold a JSON object/,
  );
});

const FOLDERS = [
  ["models", "stories-1m"],
  ["models", "stories260k"],
  ["models", "tinystories-656k"],
  ["tokenizers", "minimind-tokenizer"],
  ["tokenizers", "mistral32k-tokenizer-json"],
];

/** Ordinary text; the second half is beyond the letters that tinystories-656k knows. */
const ASCII = [
  "Once upon a time, there was a cat.",
  " two  spaces   and\n\n\nlines ",
  "don't . stop , it !",
  "",
  " ",
  "\n",
  "x".repeat(700),
];
const UNICODE = [
  "Ünïcödé — “quotes” café e\u0301",
  "日本語 中文 한국어 العربية",
  "😀👨‍👩‍👧 emoji",
  "\ufeffmark\ufeff",
  "tab\there\0",
];

for (const path of FOLDERS) {
  sharedTest(test, `${path[1]} gives text back unchanged`, async () => {
    const tokenizer = await loadTokenizer(await openFolder(sharedPath(...path)));
    // Its vocabulary has no byte tokens although it asks for them, so other characters are <unk>.
    const lossy = path[1] === "tinystories-656k";
    for (const text of ASCII) {
      const ids = tokenizer.encode(text);
      assert.is(tokenizer.decode(ids), text, JSON.stringify(text));
      assert.is(tokenizer.countUnknown(ids), 0);
    }
    for (const text of UNICODE) {
      const ids = tokenizer.encode(text);
      if (lossy) assert.ok(tokenizer.countUnknown(ids) > 0, JSON.stringify(text));
      else assert.is(tokenizer.decode(ids), text, JSON.stringify(text));
    }
    assert.ok(tokenizer.eosIds.length > 0);
  });
}

for (const name of ["stories260k", "tinystories-656k"]) {
  sharedTest(test, `${name}: the reference's token ids`, async () => {
    const tokenizer = await loadTokenizer(await openFolder(sharedPath("models", name)));
    const source = await openFile(
      sharedPath("golden", "model-level", `${name}.tokens.safetensors`),
    );
    const golden = await openSafetensors(source);
    const expected = async (tensor: string) => new Int32Array((await golden.read(tensor)).buffer);
    const data = (file: string) => fs.readFile(sharedPath("data", "tinystories", file), "utf8");

    const evaluation = tokenizer.encode((await data("val.txt")).slice(0, 200_000));
    assert.equal(evaluation, await expected("eval_all"));

    const text = await data("train-slice.txt");
    const begin = performance.now();
    const calibration = tokenizer.encode(text);
    const seconds = (performance.now() - begin) / 1000;
    assert.equal(calibration.subarray(0, 128 * 256), await expected("calib"));
    assert.is(String(calibration.length), golden.metadata.calib_tokens_total);
    note(`${name}: ${text.length} characters encoded in ${seconds.toFixed(1)} s`);
    await golden.close();
  });
}

test.run();
