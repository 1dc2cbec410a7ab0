import * as fs from "node:fs/promises";
import { Tokenizer as Library } from "@huggingface/tokenizers";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openSafetensors } from "../../src/checkpoint/safetensors.js";
import { BytePairEncoder } from "../../src/checkpoint/tokenizer/bpe.js";
import { loadTokenizer } from "../../src/checkpoint/tokenizer.js";
import { memoryFolder, openFile, openFolder } from "../../src/platform/files.js";
import { note, sharedPath, sharedTest } from "../shared.js";
import { refused } from "./crafted.js";

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
      const pieces = naive(word, table).filter((piece) => tokenIds.has(piece));
      assert.equal(
        ids.map((id) => tokens[id]),
        pieces,
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
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
      ],
    },
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
  ["an unknown model", definition(true, { model: { type: "Magic" } }), /cannot be understood/],
  [
    "a model without merges",
    definition(true, { model: { type: "BPE", vocab: { a: 0 } } }),
    /cannot be understood/,
  ],
  [
    "merges that are no list",
    definition(true, { model: { type: "BPE", vocab: { a: 0 }, merges: 5 } }),
    /cannot be understood/,
  ],
  [
    "a number as merge",
    definition(true, { model: { type: "BPE", vocab: { a: 0 }, merges: [1] } }),
    /cannot be understood/,
  ],
  [
    "a text id",
    definition(true, { added_tokens: [], model: { type: "BPE", vocab: { a: "0" }, merges: [] } }),
    /id of token "a" is "0"/,
  ],
  [
    "a negative id",
    definition(true, { added_tokens: [], model: { type: "BPE", vocab: { a: -1 }, merges: [] } }),
    /is -1/,
  ],
  [
    "an empty vocabulary",
    definition(true, { added_tokens: [], model: { type: "BPE", vocab: {}, merges: [] } }),
    /empty/,
  ],
  [
    "an unknown normalizer",
    definition(true, { normalizer: { type: "Magic" } }),
    /cannot be understood.*Magic/,
  ],
  [
    "an unknown decoder",
    definition(true, { decoder: { type: "Magic" } }),
    /cannot be understood.*Magic/,
  ],
  [
    "added tokens that are no list",
    definition(true, { added_tokens: {} }),
    /"added_tokens" is not a list/,
  ],
];

for (const [what, text, message] of MALFORMED) {
  test(`refuses ${what}`, async () => {
    const folder = memoryFolder({ "tokenizer.json": text });
    const error = await refused(() => loadTokenizer(folder), message);
    assert.match(error.where, /tokenizer\.json/);
    assert.ok(error.message.length < 400);
  });
}

test("a token that the vocabulary lacks is an error, not id 0", async () => {
  const single = [
    { SpecialToken: { id: "<none>", type_id: 0 } },
    { Sequence: { id: "A", type_id: 0 } },
  ];
  const changes = {
    model: { type: "BPE", unk_token: null, vocab: { a: 3 }, merges: [] },
    post_processor: { type: "TemplateProcessing", single, pair: [], special_tokens: {} },
  };
  const tokenizer = await loadTokenizer(
    memoryFolder({ "tokenizer.json": definition(true, changes) }),
  );
  assert.equal([...tokenizer.encode("aa")], [3, 3]);
  await refused(
    () => tokenizer.encode("a", { addSpecialTokens: true }),
    /"<none>" is not in the vocabulary/,
  );
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

  sharedTest(test, `${path[1]} encodes as the library does without our encoder`, async () => {
    const folder = await openFolder(sharedPath(...path));
    const tokenizer = await loadTokenizer(folder);
    const json = JSON.parse(await folder.readText("tokenizer.json", 1e8));
    const library = new Library(json, {}) as {
      encode(text: string, options: object): { ids: number[] };
    };
    const wiki = await fs.readFile(sharedPath("data", "wikitext2", "wiki.valid.raw"), "utf8");
    for (const text of [
      wiki.slice(0, 30000),
      `${UNICODE.join("|")}${wiki.slice(5000, 9000)}`,
      "ab".repeat(3000),
    ]) {
      const { ids } = library.encode(text, { add_special_tokens: false });
      assert.equal([...tokenizer.encode(text)], ids);
    }
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
