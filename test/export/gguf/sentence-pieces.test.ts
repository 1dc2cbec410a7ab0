import { suite } from "uvu";
import * as assert from "uvu/assert";
import { TEXTS } from "../../checkpoint/tokenizer/texts.js";
import { sharedPath, sharedTest } from "../../shared.js";
import { readTokenizer, withTokenizer } from "./tokenizer-keys.js";

const test = suite("sentence pieces as GGUF");

sharedTest(test, "a SentencePiece tokenizer gives the same ids when it is read back", async () => {
  const path = sharedPath("tokenizers", "mistral32k-tokenizer-json");
  const { keys, tokenizer } = await withTokenizer(path);
  const made = await readTokenizer(keys);
  for (const text of TEXTS) {
    assert.equal(made.encode(text), tokenizer.encode(text), JSON.stringify(text));
  }
});

test.run();
