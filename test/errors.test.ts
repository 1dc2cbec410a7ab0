import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../src/checkpoint/checkpoint.js";
import { listNames } from "../src/checkpoint/safetensors-writer.js";
import { LONGEST_MESSAGE, nearest, PenjingError, refuseUnknownKeys } from "../src/errors.js";
import { memoryFolder } from "../src/platform/files.js";
import { fit, printable, printableLines, quote } from "../src/quote.js";
import { crafted, refused } from "./checkpoint/crafted.js";

const test = suite("errors");

/** Clears the screen, forges a line, turns the text around. */
const HOSTILE = "a\u001b[2J\rb\nc\u009b1m\u007f\u202ed\u2028e\0";
const UNPRINTABLE = /\p{Cc}|\p{Zl}|\p{Zp}|[\u202a-\u202e\u2066-\u2069]/u;

test("what a terminal would act on is written out", () => {
  assert.is(
    printable(HOSTILE),
    "a\\u001b[2J\\u000db\\u000ac\\u009b1m\\u007f\\u202ed\\u2028e\\u0000",
  );
  assert.is(printableLines("a\tb\n\u001bc\r\n"), "a\tb\n\\u001bc\\u000d\n");
  assert.is(printable("\ud800 und \udc00"), "\\ud800 und \\udc00");
  const plain = "Größe 名前 👩‍🚀 ÷ é";
  assert.is(printable(plain), plain);
});

test("names of 200 characters are quoted whole", () => {
  const name = "n".repeat(200);
  assert.is(quote(name), `"${name}"`);
  assert.is(quote(`${name}m`), `"${name}"...`);
  assert.is(quote([name]), `["${name.slice(0, 198)}...`);
  assert.is(quote(HOSTILE), JSON.stringify(HOSTILE).replace(/[\u007f-\uffff]/g, printable));
  assert.is(quote(undefined), "undefined");
});

test("an error is one line of at most 500 characters", () => {
  for (const [where, message] of [
    ["x", "y"],
    [HOSTILE, HOSTILE],
    ["w".repeat(1_000_000), "m".repeat(1_000_000)],
    ["w", "m".repeat(497)],
    [HOSTILE.repeat(100), HOSTILE.repeat(100)],
  ]) {
    const error = new PenjingError(where, message);
    assert.ok(error.message.length <= LONGEST_MESSAGE, `${error.message.length}`);
    assert.not.match(error.message, UNPRINTABLE);
    assert.is(error.where, where);
  }
  assert.is(new PenjingError("file", "it is bad; mend it.").message, "[file] it is bad; mend it.");
  // The cure stands at the end.
  assert.match(new PenjingError("f", `${"m".repeat(9_000)}; mend it.`).message, /mmm; mend it\.$/);
  assert.is(fit("abcdefghijklmnop", 12), "abcd ... nop");
});

test("a header of hostile names is refused in one line", async () => {
  const long = "\u001b[2J\n".repeat(150_000);
  for (const header of [
    { [long]: { dtype: "F32", shape: [1], data_offsets: [0, 4] } },
    { a: { dtype: long, shape: [1], data_offsets: [0, 4] } },
    { a: { dtype: "F32", shape: long, data_offsets: [0, 4] } },
    { a: { dtype: "F32", shape: [1], data_offsets: [0, 4], [long]: 0 } },
    { __metadata__: { a: [long] } },
  ]) {
    const file = crafted(JSON.stringify(header), 4);
    const folder = memoryFolder({ "model.safetensors": file }, "m");
    const { message } = await refused(() => openCheckpoint(folder), /^\[m\/model\.safetensors/);
    assert.ok(message.length <= LONGEST_MESSAGE, `${message.length}`);
    assert.not.match(message, UNPRINTABLE);
  }
  const names = Object.fromEntries(Array.from({ length: 99 }, (_, i) => [`${i}\n${long}`, ""]));
  const { message } = await refused(() => openCheckpoint(memoryFolder(names, "m")), /^\[m\]/);
  assert.ok(message.length <= LONGEST_MESSAGE);
  assert.not.match(message, UNPRINTABLE);
});

test("lists and proposals stay short", () => {
  const names = Array.from({ length: 100 }, (_, i) => `${i}${"x".repeat(4_000)}`);
  assert.ok(listNames(names).length < 400);
  const started = performance.now();
  assert.is(nearest("y".repeat(4_000), names), undefined);
  assert.is(nearest("layout", ["backend", "layuot"]), "layuot");
  const key = "k".repeat(1_000_000);
  assert.throws(() => refuseUnknownKeys("r", { [key]: 1 }, ["method"]), /is not an option here/);
  assert.ok(performance.now() - started < 500);
});

test.run();
