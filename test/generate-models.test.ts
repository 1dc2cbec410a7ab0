/** What models write, as other programs have it. */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type BackendName, backends } from "../src/backends/index.js";
import { generate } from "../src/generate.js";
import { intsOf, readShared } from "./golden.js";
import { note, repositoryRoot, sharedPath, sharedTest } from "./shared.js";
import { canTest } from "./webgpu/adapter.js";

const test = suite("generate-models");

sharedTest(test, "stories260k tells the story that another program tells", async () => {
  const file = readFileSync(sharedPath("models", "stories260k", "greedy.txt"), "utf8");
  const story = file.slice(0, file.lastIndexOf("achieved tok/s"));
  const model = sharedPath("models", "stories260k");
  const { text, ids, promptIds, stoppedBy, tokensPerSecond } = await generate({
    model,
    prompt: "",
    maxNewTokens: 256,
  }).result();
  assert.is(text, story);
  assert.is(ids.length, 256);
  assert.equal([...promptIds], [1]);
  assert.is(stoppedBy, "length");
  note(`stories260k generates ${tokensPerSecond.toFixed(0)} tokens/s`);
});

for (const backend of Object.keys(backends).filter(canTest) as BackendName[]) {
  sharedTest(test, `stories-1m on ${backend}: greedy tokens of another program`, async () => {
    const golden = await readShared("models", "stories-1m", "golden.safetensors");
    const expected = [...(await intsOf(golden, "greedy_ids"))];
    const prompt = [...(await intsOf(golden, "input_ids"))].slice(0, 4);
    assert.equal(expected.slice(0, 4), prompt);
    const model = `${repositoryRoot}/examples/stories-1m`;
    const maxNewTokens = (backend !== "wasm" ? 40 : expected.length) - 4;
    const result = await generate({
      model,
      prompt: "Once upon a time",
      backend,
      maxNewTokens,
    }).result();
    assert.equal([...result.promptIds], prompt);
    assert.equal([...result.ids], expected.slice(4, 4 + maxNewTokens));
  });
}

test.run();
