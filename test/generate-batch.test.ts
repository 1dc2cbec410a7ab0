import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type BackendName, backends, openBackend } from "../src/backends/index.js";
import { openCheckpoint } from "../src/checkpoint/checkpoint.js";
import { compress } from "../src/compress.js";
import { generate } from "../src/generate.js";
import {
  type GenerateBatchEvent,
  type GenerateBatchOptions,
  generateBatch,
} from "../src/generate-batch.js";
import { openModel, runningModel } from "../src/models/open.js";
import { memoryFolder, memoryOutputFolder } from "../src/platform/files.js";
import { refused } from "./checkpoint/crafted.js";
import { repositoryRoot } from "./shared.js";
import { canTest, openSharedGpu } from "./webgpu/adapter.js";

const test = suite("generate batch");

const EMBEDDED = `${repositoryRoot}/examples/stories-1m`;

/** Of several lengths; the second ends before the others. */
const PROMPTS = [
  "Once upon a time",
  "Tom had a red ball. He liked to",
  "The",
  "Lily and her mom went to the park. They saw a big dog and",
  "One day",
];

const embedded = await openModel(EMBEDDED);
const running = runningModel(embedded)!;

function run(options: Partial<GenerateBatchOptions>) {
  return generateBatch({ model: embedded, prompts: PROMPTS, maxNewTokens: 40, ...options });
}

async function idsOf(options: Partial<GenerateBatchOptions>): Promise<number[][]> {
  return (await run(options).result()).texts.map(({ ids }) => [...ids]);
}

/** The same, each prompt alone with its seed. */
async function aloneIds(options: Partial<GenerateBatchOptions>): Promise<number[][]> {
  const { prompts = PROMPTS, batch: _, seed = 0, ...others } = options;
  const all: number[][] = [];
  for (const [index, given] of prompts.entries()) {
    const one = typeof given === "string" ? { prompt: given } : { messages: given };
    const asked = { model: embedded, maxNewTokens: 40, ...others, ...one, seed: seed + index };
    all.push([...(await generate(asked).result()).ids]);
  }
  return all;
}

/** The embedded model's files with its weights rounded, and with other files in place of some. */
async function rounded() {
  const out = memoryOutputFolder();
  const options = { bits: 4, groupSize: 32, weighted: false };
  const recipe = { method: "rtn", options, layout: "grouped-int", embeddingBits: 8 } as const;
  await compress({ model: EMBEDDED, out, recipe }).result();
  return openCheckpoint(memoryFolder(out.files));
}

async function changed(changes: { readonly config?: object; readonly tokenizer?: object }) {
  const names = ["model.safetensors", "tokenizer.json"];
  const read = (name: string) => new Uint8Array(readFileSync(`${EMBEDDED}/${name}`));
  const merged = (name: string, more: object = {}) =>
    JSON.stringify({ ...JSON.parse(String(readFileSync(`${EMBEDDED}/${name}`))), ...more });
  return openCheckpoint(
    memoryFolder({
      ...Object.fromEntries(names.map((name) => [name, read(name)])),
      "config.json": merged("config.json", changes.config),
      "tokenizer_config.json": merged("tokenizer_config.json", changes.tokenizer),
    }),
  );
}

for (const name of Object.keys(backends).filter(canTest) as BackendName[]) {
  test(`on ${name} every text is that of its prompt alone, whatever it is generated with`, async () => {
    const [maxNewTokens, together] =
      name === "wasm" ? [40, [1, 2, 3, 8]] : name === "webgpu" ? [5, [2]] : [12, [2, 8]];
    // A software adapter takes a second for each.
    const prompts = name === "webgpu" ? PROMPTS.slice(0, 3) : PROMPTS;
    for (const source of [EMBEDDED, await rounded()]) {
      // Of a share of a thread each, so that some products are spread.
      const backend = await (name === "webgpu"
        ? openSharedGpu()
        : openBackend(name, name === "wasm" ? { threads: 2 } : {}));
      const activations = source === EMBEDDED ? "float" : "int8";
      const model = await openModel(source, { backend, activations });
      const expected = await aloneIds({ model, prompts, maxNewTokens });
      for (const batch of together) {
        const result = await run({ model, prompts, batch, maxNewTokens }).result();
        const ids = result.texts.map((one) => [...one.ids]);
        assert.equal(ids, expected, `${activations}, ${batch} together`);
        assert.is(result.activations, activations === "int8" ? "int8" : undefined);
      }
      await model.close();
      backend.dispose();
    }
  });
}

test("logits of texts that are run together have the bits of each alone", async () => {
  for (const name of ["reference", "wasm"] as const) {
    for (const source of [EMBEDDED, await rounded()]) {
      const activations = source === EMBEDDED ? "float" : "int8";
      const model = await openModel(source, { backend: name, activations });
      const { decoder, backend, spec, tokenizer } = runningModel(model)!;
      const prompts = PROMPTS.filter((prompt) => prompt !== "The");
      const texts = prompts.map((prompt) => tokenizer.encode(prompt));
      const alone: number[][] = [];
      for (const ids of texts) {
        const [cache, logits] = [decoder.cache(spec.context), backend.zeros([1, spec.vocabSize])];
        decoder.logits(ids.subarray(0, -1), logits, cache);
        decoder.logits(ids.subarray(-1), logits, cache);
        alone.push([...(await backend.read(logits))]);
      }
      const logits = backend.zeros([texts.length, spec.vocabSize]);
      const segments = texts.map((ids, first) => {
        const [cache, position] = [decoder.cache(spec.context), ids.length - 1];
        decoder.logits(ids.subarray(0, -1), backend.rows(logits, 0, 1), cache);
        return { first, rows: 1, position, cache };
      });
      const last = Int32Array.from(texts, (ids) => ids.at(-1)!);
      for (const _ of decoder.forwardSegments(last, segments));
      for (const _ of decoder.project(0, logits));
      assert.equal(
        segments.map(({ cache }) => cache.length),
        texts.map(({ length }) => length),
      );
      const together = [...(await backend.read(logits))];
      assert.equal(together, alone.flat(), `${name}, ${activations}`);
      await model.close();
    }
  }
});

test("a draw depends on the prompt's seed alone, and a prompt given twice has two", async () => {
  const prompts = [...PROMPTS, PROMPTS[0]];
  const options = { prompts, temperature: 1, seed: 5 };
  const expected = await aloneIds(options);
  assert.not.equal(expected[5], expected[0]);
  for (const batch of [1, 4, 8]) assert.equal(await idsOf({ ...options, batch }), expected);
});

test("texts with keys and values of int8 are those of each prompt alone", async () => {
  for (const backend of ["wasm", "reference"] as const) {
    const options = { model: EMBEDDED, backend, kvCache: "int8", maxNewTokens: 12 } as const;
    const result = await run({ ...options, batch: 3 }).result();
    assert.is(result.kvCache, "int8");
    const ids = result.texts.map((one) => [...one.ids]);
    assert.equal(ids, await aloneIds(options), backend);
  }
});

test("events name their prompt, and the next prompt takes the place of one that ends", async () => {
  const greedy = (await aloneIds({ ignoreEos: true })).map((ids) => ids[3]);
  const model = await changed({ config: { eos_token_id: [0, greedy[0]] } });
  const work = run({ model, batch: 2 });
  const events: GenerateBatchEvent[] = [];
  for await (const event of work) events.push(event);
  const { texts, backend } = await work.result();
  assert.is(backend, "wasm");
  assert.equal(
    texts.map(({ ids }) => [...ids]),
    await aloneIds({ model }),
  );
  assert.is(texts[0].stoppedBy, "end of text");
  const order: number[] = [];
  for (const [index, { text, ids, stoppedBy }] of texts.entries()) {
    const tokens = events.filter((event) => event.type === "token" && event.index === index);
    assert.equal(
      tokens.map((event) => event.type === "token" && event.id),
      [...ids],
    );
    const added = tokens.map((event) => (event.type === "token" ? event.text : "")).join("");
    assert.is(`${PROMPTS[index]}${added}`, text);
    order.push(events.findIndex((event) => event.type === "token" && event.index === index));
    const end = events.findIndex((event) => event.type === "generated" && event.index === index);
    assert.equal(events[end], { type: "generated", index, ...texts[index] });
    assert.is(events.indexOf(tokens.at(-1)!), end - 1, stoppedBy);
  }
  // Two at a time: the third begins once the first or the second is there.
  const ends = events.flatMap((event, i) => (event.type === "generated" ? [i] : []));
  assert.ok(order[1] < ends[0] && order[2] > ends[0] && order[3] > ends[1]);
  assert.ok(order[2] < ends[1], "the third does not wait for both");
});

test("a text whose context is full ends by itself", async () => {
  const { context } = running.spec;
  const size = embedded.tokenizer.encode(" ball").length;
  const long = " ball".repeat(Math.floor((context - 6) / size));
  const options = { prompts: ["Once", long, "Tom"], ignoreEos: true };
  const { texts } = await run(options).result();
  assert.equal(
    texts.map(({ stoppedBy }) => stoppedBy),
    ["length", "context", "length"],
  );
  assert.is(texts[1].promptIds.length + texts[1].ids.length, context + 1);
  assert.equal(
    texts.map(({ ids }) => [...ids]),
    await aloneIds(options),
  );
});

test("texts and conversations go together, and answers come without what was asked", async () => {
  const chat_template = "{% for m in messages %}{{ m.content + '\\n' }}{% endfor %}Tom saw";
  const model = await changed({ tokenizer: { chat_template } });
  const messages = [{ role: "user", content: "A ball." }];
  const { texts } = await run({ model, prompts: ["Tom saw", messages] }).result();
  const answer = await generate({ model, messages, maxNewTokens: 40 }).result();
  assert.is(texts[1].text, answer.text);
  assert.equal([...texts[1].promptIds], [...answer.promptIds]);
  assert.ok(texts[0].text.startsWith("Tom saw"));
});

test("a model of short runs generates as many together as these hold", async () => {
  const narrow = await openModel(EMBEDDED, { maxTokens: 3 });
  assert.equal(await idsOf({ model: narrow }), await aloneIds({}));
  await narrow.close();
});

test("no tokens asked for, none generated", async () => {
  const { texts, tokensPerSecond } = await run({ maxNewTokens: 0 }).result();
  assert.equal(
    texts.map(({ text }) => text),
    PROMPTS,
  );
  assert.is(tokensPerSecond, 0);
});

test("what does not fit is refused, and names the prompt", async () => {
  const tooLong = " ball".repeat(running.spec.context);
  const bad: readonly (readonly [Partial<GenerateBatchOptions>, RegExp])[] = [
    [{ prompts: [] }, /^\[prompts\] there are none; give at least one/],
    [{ prompts: "Once" as never }, /^\[generateBatch\] .*prompts.* a list of prompts/],
    [{ prompts: ["Once", 3 as never] }, /a list of prompts/],
    [{ prompts: ["Once", []] }, /a list of prompts/],
    [{ batch: 0 }, /^\[batch\] it is 0, must be a whole number of at least 1/],
    [{ batch: 1.5 }, /^\[batch\] it is 1\.5/],
    [{ seed: 0.5 }, /^\[seed\] it is 0\.5/],
    [{ topP: 2 }, /^\[topP\] it is 2/],
    [{ maxNewTokens: -1 }, /^\[maxNewTokens\] it is -1/],
    [{ prompts: ["Once", tooLong] }, /^\[prompt 2 of 2\] it has \d+ tokens, which fills/],
    [
      { prompts: ["Once", [{ role: "user", content: "Hi" }]], bos: "never" },
      /^\[bos\] it is "never", but prompt 2 is a conversation/,
    ],
  ];
  for (const [options, message] of bad) {
    let events = 0;
    const work = run(options);
    await refused(async () => {
      for await (const _ of work) events++;
    }, message);
    assert.is(events, 0, "nothing was generated before");
  }
  const nameless = await changed({
    config: { bos_token_id: null },
    tokenizer: { bos_token: null },
  });
  await refused(
    () => run({ model: nameless, prompts: ["Once", ""], bos: "never" }).result(),
    /^\[prompt 2 of 2\] it is empty, /,
  );
});

test("what all caches take counts before anything is loaded", async () => {
  const taken = async (batch: number) => {
    try {
      const prompts = [...PROMPTS, ...PROMPTS];
      const options = { prompts, maxMemory: 1000, maxNewTokens: 200, batch };
      await run({ model: EMBEDDED, ...options }).result();
    } catch (error) {
      return Number(/would take ([\d.]+) MB of memory/.exec(String(error))![1]);
    }
    throw new Error("it was not refused");
  };
  const cache = running.decoder.cache(200);
  const bytes = running.spec.blocks.reduce((sum, _, layer) => sum + cache.bytesOf(layer), 0);
  cache.dispose();
  // Of few, loading takes more.
  const [eight, ten] = [await taken(8), await taken(10)];
  assert.ok(Math.abs(ten - eight - (2 * bytes) / 1e6) < 0.1, `${eight} MB, ${ten} MB`);
  assert.is(await taken(400), ten);
});

test("an abort ends it with the signal's reason and frees what it took", async () => {
  const backend = await openBackend();
  const reason = new Error("enough");
  const before = backend.memory().live;
  for (const after of [0, 1, 7]) {
    const controller = new AbortController();
    if (after === 0) controller.abort(reason);
    let tokens = 0;
    let thrown: unknown;
    try {
      const work = run({ model: EMBEDDED, backend, batch: 2, signal: controller.signal });
      for await (const _ of work) if (++tokens === after) controller.abort(reason);
    } catch (error) {
      thrown = error;
    }
    assert.is(thrown, reason);
    assert.is(backend.memory().live, before, `aborted after ${after} tokens`);
  }
  for await (const _ of run({ model: EMBEDDED, backend })) break;
  assert.is(backend.memory().live, before, "left early");
  backend.dispose();
  const { live } = running.backend.memory();
  await run({ batch: 3 }).result();
  assert.is(running.backend.memory().live, live, "an open model keeps nothing");
});

test("the shared model closes", async () => {
  await embedded.close();
});

test.run();
