import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadTokenizer } from "../src/checkpoint/tokenizer.js";
import { TextStream } from "../src/generate/text-stream.js";
import { memoryFolder } from "../src/platform/files.js";
import { LLAMA_DECODER } from "./checkpoint/tokenizer/definitions.js";

const test = suite("text stream");

/** Ids 0 to 255 are bytes, 256 is "▁a", 257 the replacement character itself, 258 is special. */
function byteTokenizer() {
  const name = (byte: number) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
  const names = [...Array(256).keys()].map(name);
  names.push("▁a", "\uFFFD", "</s>");
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  const definition = {
    added_tokens: [{ id: 258, content: "</s>", special: true, ...flags }],
    decoder: LLAMA_DECODER,
    model: {
      type: "BPE",
      byte_fallback: true,
      vocab: Object.fromEntries(names.map((token, id) => [token, id])),
      merges: [],
    },
  };
  return loadTokenizer(memoryFolder({ "tokenizer.json": JSON.stringify(definition) }));
}

const tokenizer = await byteTokenizer();

/** What a stream gives for each token, the last one with what was held back. */
function streamed(prompt: readonly number[], ids: readonly number[]): string[] {
  const stream = new TextStream(tokenizer, Int32Array.from(prompt));
  const parts = ids.map((id) => stream.add(id));
  return [...parts, stream.end()];
}

const bytes = (text: string) => [...new TextEncoder().encode(text)];

test("a character comes when its last byte is there", () => {
  assert.equal(streamed([256], [...bytes("é"), 256, ...bytes("😀")]), [
    "",
    "é",
    " a",
    "",
    "",
    "",
    "😀",
    "",
  ]);
});

test("what an end cuts off is shown as a replacement character", () => {
  assert.equal(streamed([256], [...bytes("é"), ...bytes("😀").slice(0, 3)]).join(""), "é\uFFFD");
  assert.equal(streamed([256], [0xff, 0xfe]), ["", "\uFFFD", "\uFFFD"]);
});

test("a real replacement character is not lost", () => {
  assert.equal(streamed([256], [257, 257, 256, 257]), ["", "\uFFFD", "\uFFFD a", "", "\uFFFD"]);
});

test("the parts of a stream are the text, whatever the bytes", () => {
  const id = fc.oneof(
    fc.nat(258),
    fc.constantFrom(0x41, 0x80, 0xc3, 0xe2, 0xf0, 0x9f, 0x98, 0xa9, 256, 257, 258),
  );
  fc.assert(
    fc.property(fc.array(id, { maxLength: 40 }), (ids) => {
      const whole = tokenizer.decode([256, ...ids], { skipSpecialTokens: true });
      assert.is(`a${streamed([256], ids).join("")}`, whole);
    }),
    { numRuns: 300 },
  );
});

test.run();
