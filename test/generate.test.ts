import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { backends, openBackend } from "../src/backends/index.js";
import { policy } from "../src/backends/wasm/kernels.js";
import { ThreadPool } from "../src/backends/wasm/pool.js";
import { openWasm } from "../src/backends/wasm.js";
import { openCheckpoint } from "../src/checkpoint/checkpoint.js";
import { compress } from "../src/compress.js";
import { evaluatePerplexity } from "../src/evaluate.js";
import { type GenerateEvent, type GenerateOptions, generate } from "../src/generate.js";
import { generateBatch } from "../src/generate-batch.js";
import { faceOf, loadDecoder, openModel, runningModel } from "../src/models/open.js";
import { readModel } from "../src/models/stored.js";
import { memoryFolder, memoryOutputFolder } from "../src/platform/files.js";
import { refused } from "./checkpoint/crafted.js";
import { tinyCheckpoint } from "./models/tiny.js";
import { note, repositoryRoot } from "./shared.js";
import { canTest } from "./webgpu/adapter.js";

const test = suite("generate");

const EMBEDDED = `${repositoryRoot}/examples/stories-1m`;

/** Shared by the tests that do not ask for another; the last one closes it. */
const embedded = await openModel(EMBEDDED);
const running = runningModel(embedded)!;

function run(options: Partial<GenerateOptions>) {
  return generate({ model: embedded, prompt: "Once upon a time", maxNewTokens: 12, ...options });
}

async function idsOf(options: Partial<GenerateOptions>): Promise<number[]> {
  return [...(await run(options).result()).ids];
}

/** The embedded model's files, with some keys of its config.json replaced. */
async function reconfigured(changes: object, without: readonly string[] = []) {
  const read = (name: string) => readFileSync(`${EMBEDDED}/${name}`);
  const config = { ...JSON.parse(String(read("config.json"))), ...changes };
  const names = ["model.safetensors", "tokenizer.json", "tokenizer_config.json"];
  const kept = names.filter((name) => !without.includes(name));
  const files = Object.fromEntries(kept.map((name) => [name, new Uint8Array(read(name))]));
  return openCheckpoint(memoryFolder({ ...files, "config.json": JSON.stringify(config) }));
}

test("the events are the tokens, and their texts make up the text", async () => {
  for (const options of [{}, { temperature: 3, seed: 5, maxNewTokens: 80, ignoreEos: true }]) {
    const work = run(options);
    const events: Extract<GenerateEvent, { type: "token" }>[] = [];
    for await (const event of work) if (event.type === "token") events.push(event);
    const result = await work.result();
    assert.equal(
      events.map(({ id }) => id),
      [...result.ids],
    );
    const told = `Once upon a time${events.map(({ text }) => text).join("")}`;
    // Only a character that is still incomplete at the end is held back.
    assert.is(told, result.text);
  }
});

test("a prompt longer than one pass is read in several", async () => {
  const narrow = await openModel(EMBEDDED, { maxTokens: 3 });
  const prompt = "Tom had a red ball. He liked to";
  const result = await run({ model: narrow, prompt }).result();
  assert.ok(result.promptIds.length > 2 * 3 + 1);
  assert.equal([...result.ids], await idsOf({ prompt }));
  await narrow.close();
});

test("a seed repeats its text, and another gives another", async () => {
  const drawn = (seed: number) => idsOf({ temperature: 1.2, seed, maxNewTokens: 24 });
  assert.equal(await drawn(7), await drawn(7));
  assert.not.equal(await drawn(7), await drawn(8));
  assert.not.equal(await drawn(7), await idsOf({ maxNewTokens: 24 }));
});

test("one candidate left is the likeliest token, whatever the temperature", async () => {
  const greedy = await idsOf({});
  assert.equal(await idsOf({ temperature: 2, topK: 1, seed: 3 }), greedy);
  assert.equal(await idsOf({ temperature: 2, topP: 1e-9, seed: 3 }), greedy);
});

test("it stops at an end-of-text token unless told to go on", async () => {
  const greedy = await idsOf({});
  const end = greedy[5];
  const first = greedy.indexOf(end);
  const model = await reconfigured({ eos_token_id: [0, end] });
  const stopped = await run({ model }).result();
  assert.is(stopped.stoppedBy, "end of text");
  assert.equal([...stopped.ids], greedy.slice(0, first + 1));
  const on = await run({ model, ignoreEos: true }).result();
  assert.is(on.stoppedBy, "length");
  assert.equal([...on.ids], greedy);
});

test("it stops when the context is full, and refuses a prompt that fills it", async () => {
  const { context } = running.spec;
  const words = (count: number) => " ball".repeat(count);
  const size = embedded.tokenizer.encode(words(1)).length;
  const longest = Math.floor((context - 1) / size);
  const options = { maxNewTokens: 50, ignoreEos: true };
  const result = await run({ ...options, prompt: words(longest - 4) }).result();
  assert.is(result.stoppedBy, "context");
  // The last token needs no room: nothing is to follow it.
  assert.is(result.promptIds.length + result.ids.length, context + 1);
  await refused(
    () => run({ ...options, prompt: words(longest + size) }).result(),
    new RegExp(
      `^\\[prompt\\] it has \\d+ tokens, which fills .* ${context}; shorten it to at most`,
    ),
  );
});

test("an empty prompt begins with the model's first token, if it names one", async () => {
  const result = await run({ prompt: "" }).result();
  assert.equal([...result.promptIds], [...running.spec.bosIds]);
  assert.is(result.ids.length, 12);
  const nameless = await reconfigured({ bos_token_id: null }, ["tokenizer_config.json"]);
  await refused(
    () => run({ model: nameless, prompt: "" }).result(),
    /^\[prompt\] it is empty, and the model names no token to begin with; give some text/,
  );
});

test("no tokens asked for, none generated", async () => {
  const result = await run({ maxNewTokens: 0 }).result();
  assert.is(result.ids.length, 0);
  assert.is(result.text, "Once upon a time");
});

const BAD: readonly (readonly [Partial<GenerateOptions>, RegExp])[] = [
  [{ temperature: -1 }, /^\[temperature\] it is -1, must be a number of at least 0/],
  [{ temperature: Number.NaN }, /\[temperature\] it is NaN/],
  [{ temperature: Number.POSITIVE_INFINITY }, /\[temperature\] it is Infinity/],
  [{ topK: -1 }, /^\[topK\] it is -1, must be a whole number/],
  [{ topK: 1.5 }, /^\[topK\] it is 1\.5/],
  [{ topP: 0 }, /^\[topP\] it is 0, must be above 0 and at most 1/],
  [{ topP: 1.1 }, /^\[topP\] it is 1\.1/],
  [{ maxNewTokens: -1 }, /^\[maxNewTokens\] it is -1, must be a whole number/],
  [{ maxNewTokens: Number.NaN }, /^\[maxNewTokens\] it is NaN/],
  [{ seed: 0.5 }, /^\[seed\] it is 0\.5, must be a whole number/],
];

test("a model that was closed is refused, though its memory is another's now", async () => {
  const backend = await openBackend("wasm");
  const model = await openModel(EMBEDDED, { backend });
  await model.close();
  const other = await openModel(EMBEDDED, { backend });
  const closed = /stories-1m\] the model was closed; open it again\./;
  await refused(() => generate({ model, prompt: "Once" }).result(), closed);
  await refused(() => evaluatePerplexity({ model, text: "Once" }).result(), closed);
  await other.close();
  backend.dispose();
});

test("runs of a model that is closed under them are refused, and touch nothing of others", async () => {
  const backend = await openBackend("wasm");
  const closed = /stories-1m\] the model was closed; open it again\./;
  const model = await openModel(EMBEDDED, { backend });
  const asked = { model, maxNewTokens: 60, ignoreEos: true };
  const one = run(asked)[Symbol.asyncIterator]();
  const several = generateBatch({ ...asked, prompts: ["Once", "Tom"] })[Symbol.asyncIterator]();
  for (const events of [one, several]) for (let i = 0; i < 5; i++) await events.next();
  const text = readFileSync(`${EMBEDDED}/evaluation.txt`, "utf8");
  const scored = refused(() => evaluatePerplexity({ model, text }).result(), closed);
  await new Promise((resolve) => setTimeout(resolve, 20));
  await model.close();
  await scored;
  const other = await openModel(EMBEDDED, { backend });
  const expected = await idsOf({});
  for (const events of [one, several]) {
    const rest = async () => {
      while (!(await events.next()).done);
    };
    await refused(rest, closed);
    assert.equal(await idsOf({ model: other }), expected);
  }
  await other.close();
  assert.is(backend.memory().live, 0);
  backend.dispose();
});

test("options out of range are refused before anything is loaded", async () => {
  for (const [options, message] of BAD) {
    await refused(() => run({ model: "no such folder", ...options }).result(), message);
  }
});

test("a model whose activations overflow is refused, generating and scoring", async () => {
  // As many tokens as the embedded model's tokenizer has.
  const checkpoint = await tinyCheckpoint({ vocab_size: running.spec.vocabSize }, (tensors) => {
    for (const [name, { entry, bytes }] of tensors) {
      if (!/gate_proj|up_proj/.test(name)) continue;
      const large = new Float32Array(bytes.buffer).map((w) => w * 1e30);
      tensors.set(name, { entry, bytes: new Uint8Array(large.buffer) });
    }
  });
  const stored = readModel(checkpoint);
  for (const name of Object.keys(backends).filter(canTest)) {
    const backend = await openBackend(name);
    const decoder = await loadDecoder(stored, backend, 16);
    const model = faceOf({ ...running, path: "tiny", spec: stored.spec, backend, decoder });
    for (const temperature of [0, 1]) {
      await refused(
        () => run({ model, temperature }).result(),
        /^\[tiny\] its logits are not numbers after 4 tokens: .* the checkpoint is damaged, fetch/,
      );
    }
    await refused(
      () => evaluatePerplexity({ model, text: "Once upon a time", window: 4 }).result(),
      /^\[model\] window 1 of 1 has a loss that is not a number: .* the checkpoint is damaged/,
    );
    backend.dispose();
  }
});

test("an abort ends it with the signal's reason and frees what it took", async () => {
  const backend = await openBackend();
  const reason = new Error("enough");
  const before = backend.memory().live;
  for (const after of [0, 1, 3]) {
    const controller = new AbortController();
    if (after === 0) controller.abort(reason);
    const work = run({ model: EMBEDDED, backend, signal: controller.signal });
    let tokens = 0;
    let thrown: unknown;
    try {
      for await (const _ of work) if (++tokens === after) controller.abort(reason);
    } catch (error) {
      thrown = error;
    }
    assert.is(thrown, reason);
    assert.is(tokens, after);
    assert.is(backend.memory().live, before, `aborted after ${after} tokens`);
  }
  for await (const _ of run({ model: EMBEDDED, backend })) break;
  assert.is(backend.memory().live, before, "left early");
  backend.dispose();
});

test("an open model keeps nothing of a generation", async () => {
  const before = running.backend.memory().live;
  await run({}).result();
  assert.is(running.backend.memory().live, before);
});

test("a model packed 2:4 says the same as its dense twin", async () => {
  const calibration = readFileSync(`${EMBEDDED}/evaluation.txt`, "utf8").slice(0, 4000);
  const generated = [];
  for (const layout of ["dense", "two-four"]) {
    const out = memoryOutputFolder();
    const recipe = { method: "sparsegpt", sparsity: "2:4", samples: 8, length: 64, layout };
    await compress({ model: EMBEDDED, out, calibration, recipe }).result();
    const model = await openModel(await openCheckpoint(memoryFolder(out.files)));
    const { ids } = await run({ model, maxNewTokens: 48, ignoreEos: true }).result();
    generated.push([...ids]);
    const held = model.served().map((line) => line.held ?? "");
    assert.is(
      held.some((how) => how.startsWith("2:4")),
      layout === "two-four",
    );
    await model.close();
  }
  assert.equal(generated[1], generated[0]);
  assert.not.equal(generated[0], await idsOf({ maxNewTokens: 48, ignoreEos: true }));
});

test("a token waits for threads fewer times than the model has blocks", async () => {
  const backend = await openWasm({ threads: 2 });
  const model = await openModel(EMBEDDED, { backend });
  const { settle } = ThreadPool.prototype;
  const { worthAPart } = policy;
  let waits = 0;
  ThreadPool.prototype.settle = function (this: ThreadPool) {
    if (this.isBusy) waits++;
    settle.call(this);
  };
  try {
    policy.worthAPart = 1;
    const counts: number[] = [];
    for (const maxNewTokens of [10, 30]) {
      waits = 0;
      await run({ model, maxNewTokens, ignoreEos: true }).result();
      counts.push(waits);
    }
    const each = (counts[1] - counts[0]) / 20;
    note(
      `a token of ${running.spec.blocks.length} blocks waits for threads ${each.toFixed(1)} times`,
    );
    assert.ok(each > 0 && each <= 3, `${each}`);
  } finally {
    ThreadPool.prototype.settle = settle;
    policy.worthAPart = worthAPart;
  }
  await model.close();
  backend.dispose();
});

test("the shared model closes", async () => {
  await embedded.close();
});

test.run();
