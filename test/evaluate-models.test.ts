// Evaluations of the models and texts of ../shared.
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../src/checkpoint/checkpoint.js";
import { evaluatePerplexity } from "../src/evaluate.js";
import { openModel } from "../src/models/open.js";
import { memoryFolder } from "../src/platform/files.js";
import { refused } from "./checkpoint/crafted.js";
import { note, repositoryRoot, sharedPath, sharedTest } from "./shared.js";

const test = suite("evaluate models");

const EMBEDDED = `${repositoryRoot}/examples/stories-1m`;
const TEXT = readFileSync(`${EMBEDDED}/evaluation.txt`, "utf8").slice(0, 1500);

sharedTest(test, "a model with another tokenizer or vocabulary is refused", async () => {
  const against = sharedPath("models", "stories260k");
  await refused(
    () => evaluatePerplexity({ model: EMBEDDED, text: TEXT, window: 64, against }).result(),
    /^\[against\] .*stories260k.* give the model that .*stories-1m was made from\./,
  );
});

sharedTest(test, "a text in letters that the model does not know is refused", async () => {
  const model = sharedPath("models", "tinystories-656k");
  const foreign = "从前有一个小女孩住在森林里。".repeat(40);
  await refused(
    () => evaluatePerplexity({ model, text: foreign, window: 64 }).result(),
    /^\[text\] \d+ of the text's \d+ tokens are unknown .* more than 10%; give a UTF-8 text/,
  );
  const text = `${TEXT} 从前 ${TEXT}`;
  const result = await evaluatePerplexity({ model, text, window: 64 }).result();
  assert.ok(result.unknownTokens > 0 && result.unknownTokens < 10);
});

sharedTest(test, "another model's tokenizer is refused", async () => {
  const read = (model: string, name: string) =>
    new Uint8Array(readFileSync(sharedPath("models", model, name)));
  const model = await openCheckpoint(
    memoryFolder({
      "config.json": read("stories260k", "config.json"),
      "model.safetensors": read("stories260k", "model.safetensors"),
      "tokenizer.json": read("tinystories-656k", "tokenizer.json"),
    }),
  );
  await refused(
    () => evaluatePerplexity({ model, text: TEXT, window: 64 }).result(),
    /^\[tokenizer\.json\] it gives the token id \d+, but the model's vocabulary has 512; take/,
  );
});

sharedTest(test, "stories-1m: the perplexity that its training program measured", async () => {
  const stories = readFileSync(sharedPath("data", "tinystories", "val.txt"), "utf8");
  const model = await openModel(EMBEDDED);
  // 40 windows of 256 from character 599,400 on, as its README says.
  const ids = model.tokenizer.encode(stories.slice(599_400, 640_000)).slice(0, 40 * 256);
  const text = model.tokenizer.decode(ids);
  const result = await evaluatePerplexity({ model, text, window: 256 }).result();
  await model.close();
  assert.is(result.windows, 40);
  // Which character its 10,240th token ended at is not said.
  assert.ok(Math.abs(result.perplexity / 9.49 - 1) < 0.005, `perplexity ${result.perplexity}`);
  note(`stories-1m on held-out stories: perplexity ${result.perplexity.toFixed(4)}`);
});

test.run();
