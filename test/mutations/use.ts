/** Models that were loaded, used: it is not enough that they load. */
import * as assert from "uvu/assert";
import { evaluatePerplexity } from "../../src/evaluate.js";
import { generate } from "../../src/generate.js";
import type { OpenModel } from "../../src/models/open.js";
import { TINY_TEXT } from "./originals.js";

/** A text of a few windows. */
const SHORT = TINY_TEXT.slice(0, 80);

/** Writes some tokens and measures some windows. */
export async function useModel(model: OpenModel): Promise<void> {
  const { text } = await generate({ model, prompt: "abc cab", maxNewTokens: 4 }).result();
  assert.type(text, "string");
  const { perplexity } = await evaluatePerplexity({ model, text: SHORT, window: 8 }).result();
  assert.ok(perplexity >= 1, `a perplexity of ${perplexity}`);
}
