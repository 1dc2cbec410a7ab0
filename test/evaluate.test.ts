import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { backends, openBackend } from "../src/backends/index.js";
import { openCheckpoint } from "../src/checkpoint/checkpoint.js";
import { type EvaluateEvent, evaluatePerplexity } from "../src/evaluate.js";
import { openModel, runningModel } from "../src/models/open.js";
import { memoryFolder } from "../src/platform/files.js";
import { refused } from "./checkpoint/crafted.js";
import { note, repositoryRoot, sharedPath, sharedTest } from "./shared.js";
import { canTest } from "./webgpu/adapter.js";

const test = suite("evaluate");

const EMBEDDED = `${repositoryRoot}/examples/stories-1m`;
const TEXT = readFileSync(`${EMBEDDED}/evaluation.txt`, "utf8").slice(0, 1500);

/** Mean -log p of every token of a window but its first, by the definition in float64. */
function meanLoss(logits: Float32Array, ids: Int32Array): number {
  const vocabulary = logits.length / ids.length;
  let total = 0;
  for (let t = 0; t + 1 < ids.length; t++) {
    const row = Array.from(logits.subarray(t * vocabulary, (t + 1) * vocabulary));
    const highest = Math.max(...row);
    const sum = row.reduce((all, logit) => all + Math.exp(logit - highest), 0);
    total += highest + Math.log(sum) - row[ids[t + 1]];
  }
  return total / (ids.length - 1);
}

for (const name of Object.keys(backends).filter(canTest)) {
  test(`${name}: the definition over windows, the remainder dropped`, async () => {
    const backend = await openBackend(name);
    const model = await openModel(EMBEDDED, { backend, maxTokens: 32 });
    const { spec, decoder } = runningModel(model)!;
    // Tokens are slow on a software adapter.
    const isGpu = name === "webgpu";
    const text = TEXT.slice(0, isGpu ? 90 : 500);
    const ids = model.tokenizer.encode(text);
    const sizes = isGpu ? [5, 13] : [2, 13, 32];
    assert.ok(sizes.some((window) => ids.length % window > 0));
    for (const window of sizes) {
      const windows = Math.floor(ids.length / window);
      const out = backend.zeros([window, spec.vocabSize]);
      let expected = 0;
      for (let i = 0; i < windows; i++) {
        const part = ids.slice(i * window, (i + 1) * window);
        decoder.logits(part, out);
        expected += meanLoss((await backend.read(out)) as Float32Array, part) / windows;
      }
      out.dispose();
      const live = backend.memory().live;
      const result = await evaluatePerplexity({ model, text, window }).result();
      assert.ok(Math.abs(result.nll / expected - 1) < 2e-6, `${window}: ${result.nll} ${expected}`);
      assert.is(result.perplexity, Math.exp(result.nll));
      assert.equal([result.windows, result.window], [windows, window]);
      assert.is(result.tokens, windows * (window - 1));
      assert.is(result.backend, name);
      assert.ok(result.served.some(({ operation }) => operation === "crossEntropy"));
      assert.is(backend.memory().live, live);
    }
    await model.close();
    backend.dispose();
  });
}

test("the events count the windows up to the result", async () => {
  const work = evaluatePerplexity({ model: EMBEDDED, text: TEXT, window: 64 });
  const events: Extract<EvaluateEvent, { type: "progress" }>[] = [];
  for await (const event of work) if (event.type === "progress") events.push(event);
  const result = await work.result();
  assert.ok(result.windows >= 3);
  assert.equal(
    events.map(({ done }) => done),
    Array.from({ length: result.windows }, (_, i) => i + 1),
  );
  assert.ok(events.every(({ windows }) => windows === result.windows));
  assert.is(events.at(-1)?.perplexity, result.perplexity);
  assert.is(result.textSha256, createHash("sha256").update(TEXT).digest("hex"));
});

test("the window is the model's context unless asked otherwise", async () => {
  const text = TEXT.repeat(2);
  const model = await openModel(EMBEDDED);
  const result = await evaluatePerplexity({ model, text }).result();
  assert.is(result.window, 256);
  assert.is((await evaluatePerplexity({ model, text, window: 256 }).result()).nll, result.nll);
  await model.close();
});

test("windows and texts that cannot be scored are refused", async () => {
  const score = (text: string, window?: number) =>
    evaluatePerplexity({ model: EMBEDDED, text, window }).result();
  for (const window of [0, 1, -3, 2.5, Number.NaN, Number.POSITIVE_INFINITY]) {
    await refused(() => score(TEXT, window), /^\[window\] it is .*, must be a whole number of at/);
  }
  // Nothing of that size is allocated on the way.
  for (const window of [257, 1e12]) {
    await refused(() => score(TEXT, window), /^\[window\] it is \d+, must be at most .* 256/);
  }
  for (const text of ["", " \n\t "])
    await refused(() => score(text), /^\[text\] .* is empty; give/);
  await refused(
    () => score("One day."),
    /^\[text\] the text has \d tokens, fewer than one window of 256; give a longer/,
  );
  const model = await openModel(EMBEDDED, { maxTokens: 16 });
  await refused(
    () => evaluatePerplexity({ model, text: TEXT, window: 17 }).result(),
    /^\[window\] it is 17, but the model was opened for runs of 16 tokens; open it with maxTokens 17/,
  );
  await model.close();
});

test("a perplexity beyond what a number holds is an error, not Infinity", async () => {
  const at = (name: string) => new URL(`examples/stories-1m/${name}`, `file://${repositoryRoot}/`);
  const weights = readFileSync(at("model.safetensors"));
  const headerBytes = Number(weights.readBigUInt64LE(0));
  const header = JSON.parse(weights.subarray(8, 8 + headerBytes).toString());
  const [start, end] = header["model.norm.weight"].data_offsets.map(
    (offset: number) => 8 + headerBytes + offset,
  );
  // Gains of 10,000 in bfloat16: logits far apart, and losses of thousands of nats.
  for (let byte = start; byte < end; byte += 2) weights.writeUInt16LE(0x461c, byte);
  const names = ["config.json", "tokenizer.json", "tokenizer_config.json"];
  const files = Object.fromEntries(names.map((name) => [name, readFileSync(at(name), "utf8")]));
  const folder = memoryFolder({ ...files, "model.safetensors": new Uint8Array(weights) });
  const text = readFileSync(at("evaluation.txt"), "utf8").slice(0, 500);
  const run = evaluatePerplexity({ model: await openCheckpoint(folder), text, window: 16 });
  await refused(
    () => run.result(),
    /^\[model\] after window 1 of \d+ its loss is \d.* nats a token, of which the perplexity is no number any more; /,
  );
});

test("an abort ends it with the signal's reason and frees what it took", async () => {
  const backend = await openBackend();
  const before = backend.memory().live;
  const reason = new Error("enough");
  const controller = new AbortController();
  const { signal } = controller;
  let windows = 0;
  let thrown: unknown;
  try {
    for await (const _ of evaluatePerplexity({
      model: EMBEDDED,
      text: TEXT,
      window: 16,
      backend,
      signal,
    })) {
      if (++windows === 2) controller.abort(reason);
    }
  } catch (error) {
    thrown = error;
  }
  assert.is(thrown, reason);
  assert.is(windows, 2);
  assert.is(backend.memory().live, before);
  backend.dispose();
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
