/** Several prompts at once of the real model. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { generateBatch } from "../src/generate-batch.js";
import { openModel } from "../src/models/open.js";
import { note } from "./shared.js";
import { yardstickPath, yardstickTest } from "./yardstick.js";

const test = suite("generate batch, SmolLM2");

yardstickTest(test, "SmolLM2 answers several prompts at once as it answers each", async () => {
  const model = await openModel(yardstickPath("smollm2.q4_1.gguf"), { activations: "int8" });
  const options = { model, maxNewTokens: 8, ignoreEos: true };
  const prompts = ["sun", "sea", "house", "bird"].map((word) => `The ${word} is`);
  const rates: string[] = [];
  let first: number[][] = [];
  for (const batch of [1, 4]) {
    const { texts, tokensPerSecond } = await generateBatch({ ...options, prompts, batch }).result();
    rates.push(`${batch} together ${tokensPerSecond.toFixed(1)}`);
    const ids = texts.map((one) => [...one.ids]);
    if (batch === 1) first = ids;
    assert.equal(ids, first, `${batch} together`);
  }
  note(`SmolLM2 generates, tokens/s: ${rates.join(", ")}`);
  await model.close();
});

test.run();
