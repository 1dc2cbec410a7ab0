import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadTokenizer, type Tokenizer } from "../../../src/checkpoint/tokenizer.js";
import { memoryFolder, openFolder } from "../../../src/platform/files.js";
import { encodeText } from "../../../src/text.js";
import { repositoryRoot, sharedPath, sharedTest } from "../../shared.js";
import { refused } from "../crafted.js";
import { PATTERNS } from "./definitions.js";
import { TEXTS } from "./texts.js";

const test = suite("tokenizer in pieces");

/** A byte-pair tokenizer of a few letters. */
function tokenizerOf(others: object, model: object = {}): Promise<Tokenizer> {
  const vocab = { a: 0, b: 1, " ": 2, aa: 3, ab: 4, "<unk>": 5, "▁": 6, "▁a": 7 };
  const merges = ["a a", "a b", "▁ a"];
  const definition = {
    added_tokens: [],
    model: { type: "BPE", unk_token: "<unk>", vocab, merges, ...model },
    ...others,
  };
  return loadTokenizer(memoryFolder({ "tokenizer.json": JSON.stringify(definition) }));
}

const split = (Regex: string) => ({
  pre_tokenizer: { type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false },
});

/** Encodes in steps; each step's ids must be a beginning of all. */
function inSteps(tokenizer: Tokenizer, text: string): { steps: number; ids: number[] } {
  const whole = [...tokenizer.encode(text)];
  const work = tokenizer.encodeSteps(text);
  let steps = 0;
  for (let step = work.next(); ; step = work.next()) {
    if (step.done) return { steps, ids: [...step.value] };
    const { ids, done } = step.value;
    steps++;
    assert.ok(done >= 0 && done <= text.length);
    for (let i = Math.max(0, ids.length - 3); i < ids.length; i++) assert.is(ids[i], whole[i]);
  }
}

test("every way through a long text has steps, and gives the ids of its parts", async () => {
  const spaces = { type: "Sequence", pretokenizers: [split(" ?[a-z]+").pre_tokenizer] };
  const ways: readonly (readonly [string, Tokenizer])[] = [
    ["a pattern", await tokenizerOf(split(" ?[a-z]+"))],
    ["a sequence", await tokenizerOf({ pre_tokenizer: spaces })],
    ["no pre-tokenizer", await tokenizerOf({})],
    ["a normalizer", await tokenizerOf({ normalizer: { type: "NFC" } })],
  ];
  for (const [what, tokenizer] of ways) {
    const part = "aab ab aaab b xa ";
    const one = [...tokenizer.encode(part)];
    const { steps, ids } = inSteps(tokenizer, part.repeat(20_000));
    assert.ok(steps >= 10, `${what}: ${steps} steps`);
    assert.is(ids.length, one.length * 20_000, what);
    assert.equal(ids.slice(0, one.length), one, what);
    assert.equal(ids.slice(-one.length), one, what);
  }
  // Nothing cuts this one: its merges join every letter with the next.
  const { steps, ids } = inSteps(await tokenizerOf({}), "a".repeat(200_001));
  assert.ok(steps >= 4);
  assert.equal([ids.length, ids[0], ids[100_000]], [100_001, 3, 0]);
});

test("a signal is seen within a long text", async () => {
  const tokenizer = await tokenizerOf(split(" ?[a-z]+"));
  const text = "aab ab ".repeat(3_000_000);
  const started = performance.now();
  const reason = await (async () => {
    const work = encodeText(tokenizer, text, { signal: AbortSignal.timeout(100) });
    for await (const event of work) assert.is(event.characters, text.length);
  })().catch((error: unknown) => error);
  assert.is((reason as Error).name, "TimeoutError");
  assert.ok(performance.now() - started < 5000);
});

test("no more of a text is encoded than the wanted ids take", async () => {
  const tokenizer = await tokenizerOf(split(" ?[a-z]+"));
  const text = "aab ab ".repeat(3_000_000);
  const all = tokenizer.encode(text.slice(0, 700_000));
  const work = encodeText(tokenizer, text, { wanted: 100_000 });
  let step = await work.next();
  while (!step.done) step = await work.next();
  assert.equal(step.value, all.subarray(0, 100_000));
});

test("the patterns of real tokenizers take time in proportion to the text", async () => {
  const hostile = [
    " ".repeat(200_000),
    "\n ".repeat(50_000),
    "A".repeat(200_000),
    "'".repeat(99_999),
  ];
  for (const pattern of PATTERNS.slice(0, 12)) {
    const tokenizer = await tokenizerOf(split(pattern));
    for (const text of hostile) {
      assert.ok(tokenizer.encode(`${text}x`).length > 0, pattern);
    }
  }
});

for (const pattern of [
  "(?:a|a|aa){16}c",
  "a*a*a*a*c",
  "[ab]*[ab]*[ab]*c|a",
  "(?:a?){16}(?:a?){16}c",
]) {
  test(`a pattern that never ends is refused: ${pattern}`, async () => {
    const tokenizer = await tokenizerOf(split(pattern));
    const started = performance.now();
    await refused(() => tokenizer.encode("a".repeat(5000)), /pattern .* takes more than 64 steps/);
    assert.ok(performance.now() - started < 2000);
    assert.ok(tokenizer.encode("ab").length > 0, "a short text is none of its matter");
  });
}

test("half a surrogate pair counts as a replacement character", async () => {
  const tokenizer = await tokenizerOf({}, { vocab: { a: 0, "\uFFFD": 1, "<unk>": 2 }, merges: [] });
  assert.equal([...tokenizer.encode("a\ud83da\ude00")], [0, 1, 0, 1]);
});

test("tokenizer_config.json says whether BOS and EOS are put around a text", async () => {
  const definition = readFileSync(`${repositoryRoot}/examples/stories-1m/tokenizer.json`, "utf8");
  const added = JSON.parse(definition).added_tokens[0].content;
  const around = async (settings: object) => {
    const files = {
      "tokenizer.json": definition,
      "tokenizer_config.json": JSON.stringify({ bos_token: added, eos_token: added, ...settings }),
    };
    const tokenizer = await loadTokenizer(memoryFolder(files));
    return [...tokenizer.encode("", { addSpecialTokens: true })].length;
  };
  assert.is(await around({}), 0);
  assert.is(await around({ add_bos_token: true }), 1);
  assert.is(await around({ add_bos_token: true, add_eos_token: true }), 2);
  assert.is(await around({ add_bos_token: false, add_eos_token: null }), 0);
  assert.is(await around({ add_bos_token: true, bos_token: null }), 0, "there is none");
});

interface ParityCase {
  readonly name: string;
  readonly vocab: readonly string[];
  readonly merges: readonly string[];
  readonly pre: object | null;
  readonly added?: readonly object[];
  readonly text: string;
  readonly want: readonly number[];
}

sharedTest(test, "the cases that went wrong once", async () => {
  const path = sharedPath("cases", "tokenizer-parity.json");
  const cases: ParityCase[] = JSON.parse(readFileSync(path, "utf8"));
  for (const { name, vocab, merges, pre, added = [], text, want } of cases) {
    const tokenizer = await tokenizerOf(
      { added_tokens: added, pre_tokenizer: pre },
      { unk_token: null, vocab: Object.fromEntries(vocab.map((token, id) => [token, id])), merges },
    );
    assert.equal([...tokenizer.encode(text)], want, name);
  }
});

for (const name of ["stories260k", "tinystories-656k"]) {
  sharedTest(test, `${name}: a text in steps`, async () => {
    const tokenizer = await loadTokenizer(await openFolder(sharedPath("models", name)));
    const text = TEXTS.join(" ").repeat(8);
    const { ids } = inSteps(tokenizer, text);
    assert.equal(ids, [...tokenizer.encode(text)]);
  });
}

test.run();
