import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadTokenizer } from "../../../src/checkpoint/tokenizer.js";
import { openFolder } from "../../../src/platform/files.js";
import { sharedPath, sharedTest } from "../../shared.js";
import { TEXTS } from "../tokenizer/texts.js";
import { type Definition, keysOf, load, openKeys } from "./tokenizer-keys.js";

const test = suite("sentence pieces of GGUF");

sharedTest(test, "a SentencePiece tokenizer gives the original's ids", async () => {
  const path = sharedPath("tokenizers", "mistral32k-tokenizer-json");
  const original = await loadTokenizer(await openFolder(path));
  const made = await load(keysOf(join(path, "tokenizer.json"), undefined));
  for (const text of TEXTS) {
    assert.equal(made.encode(text), original.encode(text), JSON.stringify(text));
  }
});

sharedTest(test, "its merges are the original's, in the same order", async () => {
  const path = sharedPath("tokenizers", "mistral32k-tokenizer-json", "tokenizer.json");
  const { model } = JSON.parse(readFileSync(path, "utf8")) as Definition;
  const { folder } = await openKeys(keysOf(path, undefined));
  const made = JSON.parse(await folder.readText("tokenizer.json", 1e8)) as Definition;
  const merges = (of: Definition["model"]) =>
    of.merges.map((one) => (typeof one === "string" ? one : one.join(" ")));
  assert.equal(merges(made.model), merges(model));
});

test.run();
