import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { backends, openBackend } from "../src/backends/index.js";
import { openCheckpoint } from "../src/checkpoint/checkpoint.js";
import { compress } from "../src/compress.js";
import { type EvaluateEvent, evaluatePerplexity } from "../src/evaluate.js";
import { openModel, runningModel } from "../src/models/open.js";
import { memoryFolder, memoryOutputFolder } from "../src/platform/files.js";
import { refused } from "./checkpoint/crafted.js";
import { repositoryRoot } from "./shared.js";
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
      const losses: number[] = [];
      for (let i = 0; i < windows; i++) {
        const part = ids.slice(i * window, (i + 1) * window);
        decoder.logits(part, out);
        losses.push(meanLoss((await backend.read(out)) as Float32Array, part));
        expected += losses[i] / windows;
      }
      out.dispose();
      const live = backend.memory().live;
      const result = await evaluatePerplexity({ model, text, window }).result();
      assert.ok(Math.abs(result.nll / expected - 1) < 2e-6, `${window}: ${result.nll} ${expected}`);
      assert.is(result.perplexity, Math.exp(result.nll));
      assert.equal([result.windows, result.window], [windows, window]);
      assert.is(result.windowNll.length, windows);
      for (const [i, loss] of losses.entries()) {
        assert.ok(Math.abs(result.windowNll[i] / loss - 1) < 1e-5, `${i}: ${loss}`);
      }
      assert.is(result.tokens, windows * (window - 1));
      assert.is(result.backend, name);
      assert.ok(result.served.some(({ operation }) => operation === "crossEntropy"));
      assert.is(backend.memory().live, live);
    }
    await model.close();
    backend.dispose();
  });
}

/** KL(p || q) and the likeliest tokens of all places but the last, by the definition in float64. */
function comparisonOf(p: Float32Array, q: Float32Array, tokens: number) {
  const vocabulary = p.length / tokens;
  let [kl, agreed] = [0, 0];
  for (let t = 0; t + 1 < tokens; t++) {
    const [a, b] = [p, q].map((values) => {
      const row = Array.from(values.subarray(t * vocabulary, (t + 1) * vocabulary));
      const highest = Math.max(...row);
      const total = row.reduce((sum, logit) => sum + Math.exp(logit - highest), 0);
      return {
        logs: row.map((logit) => logit - highest - Math.log(total)),
        best: row.indexOf(highest),
      };
    });
    kl += a.logs.reduce((sum, log, i) => sum + Math.exp(log) * (log - b.logs[i]), 0);
    if (a.best === b.best) agreed++;
  }
  return { kl: kl / (tokens - 1), agreement: agreed / (tokens - 1) };
}

/** The embedded model with every weight of its blocks a little off. */
async function blurred() {
  const files = Object.fromEntries(
    ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"].map((name) => [
      name,
      new Uint8Array(readFileSync(`${EMBEDDED}/${name}`)),
    ]),
  );
  const out = memoryOutputFolder();
  const model = await openCheckpoint(memoryFolder(files));
  await compress({ model, out, recipe: { method: "magnitude", sparsity: "20%" } }).result();
  return openCheckpoint(memoryFolder(out.files));
}

for (const name of Object.keys(backends).filter(canTest)) {
  test(`${name}: against another model, token by token`, async () => {
    const backend = await openBackend(name);
    const other = await openBackend("reference");
    const window = 24;
    const dense = await openModel(EMBEDDED, { backend: other, maxTokens: window });
    const model = await openModel(await blurred(), { backend, maxTokens: window });
    const text = TEXT.slice(0, name === "webgpu" ? 90 : 300);
    const ids = model.tokenizer.encode(text);
    const windows = Math.floor(ids.length / window);
    const logitsOf = async (open: typeof model, tokens: Int32Array) => {
      const running = runningModel(open)!;
      const out = running.backend.zeros([window, running.spec.vocabSize]);
      running.decoder.logits(tokens, out);
      const values = (await running.backend.read(out)) as Float32Array;
      out.dispose();
      return values;
    };
    let [kl, agreement] = [0, 0];
    for (let i = 0; i < windows; i++) {
      const tokens = ids.slice(i * window, (i + 1) * window);
      const [p, q] = [await logitsOf(dense, tokens), await logitsOf(model, tokens)];
      const one = comparisonOf(p, q, window);
      kl += one.kl / windows;
      agreement += one.agreement / windows;
    }
    const [alone, live] = [{ model: dense, text, window }, backend.memory().live];
    const expected = await evaluatePerplexity(alone).result();
    const { against, ...own } = await evaluatePerplexity({
      ...{ model, text, window },
      against: dense,
    }).result();
    assert.ok(kl > 1e-3 && agreement < 1);
    assert.ok(Math.abs(against!.kl / kl - 1) < 1e-3, `${against!.kl} ${kl}`);
    assert.ok(Math.abs(against!.agreement - agreement) < 1e-9);
    assert.is(against!.perplexity, expected.perplexity);
    assert.is(against!.perplexityRatio, own.perplexity / expected.perplexity);
    assert.is(backend.memory().live, live);
    for (const open of [model, dense]) await open.close();
    for (const open of [backend, other]) open.dispose();
  });
}

test("a model is as far from itself as can be expected, and the order does not matter", async () => {
  const [a, b] = [await openModel(EMBEDDED, {}), await openModel(EMBEDDED, {})];
  const given = { text: TEXT, window: 64 };
  const { against } = await evaluatePerplexity({ ...given, model: a, against: EMBEDDED }).result();
  assert.ok(Math.abs(against!.kl) < 1e-9, `${against!.kl}`);
  assert.equal([against!.agreement, against!.perplexityRatio], [1, 1]);
  // Each waits for both models; neither waits for ever.
  const both = await Promise.all([
    evaluatePerplexity({ ...given, model: a, against: b }).result(),
    evaluatePerplexity({ ...given, model: b, against: a }).result(),
  ]);
  for (const one of both) assert.equal(one.against, against);
  await refused(
    () => evaluatePerplexity({ ...given, model: a, against: a }).result(),
    /^\[against\] .* is the very model that is scored; give the model that /,
  );
  for (const open of [a, b]) await open.close();
});

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

test.run();
