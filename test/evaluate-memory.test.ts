// Work under a limit of memory: what is held by blocks for it, and what is refused before it is loaded.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type BackendName, openBackend } from "../src/backends/index.js";
import { type Checkpoint, openCheckpoint } from "../src/checkpoint/checkpoint.js";
import { type EvaluateEvent, evaluatePerplexity, type Perplexity } from "../src/evaluate.js";
import { evaluateTasks } from "../src/evaluate-tasks.js";
import { generate } from "../src/generate.js";
import { openModel } from "../src/models/open.js";
import { memoryFolder } from "../src/platform/files.js";
import { refused } from "./checkpoint/crafted.js";
import { MODEL, penjing } from "./cli/program.js";
import {
  compressFiles,
  EVALUATION,
  type Files,
  repeatBlocks,
  storyFiles,
} from "./compress/stories.js";

const test = suite("limits of memory");
const TEXT = EVALUATION.slice(0, 4000);
const WINDOW = 64;

const dense = await repeatBlocks(storyFiles(), 12);
const packed = { method: "magnitude", layout: "two-four" } as const;
const { files: made } = await compressFiles(dense, packed);
const open = (files: Files) => openCheckpoint(memoryFolder(files));
const COMMON = { text: TEXT, window: WINDOW, threads: 1, simd: "baseline" } as const;

interface Scored {
  readonly score: Omit<Perplexity, "seconds" | "served">;
  readonly events: readonly EvaluateEvent[];
  readonly notes: readonly string[];
}

async function score(options: Parameters<typeof evaluatePerplexity>[0]): Promise<Scored> {
  const run = evaluatePerplexity(options);
  const events: EvaluateEvent[] = [];
  for await (const event of run) events.push(event);
  const { seconds: _, served: __, ...found } = await run.result();
  const notes = events.flatMap((event) =>
    event.type === "note" ? [`${event.where}: ${event.message}`] : [],
  );
  return { score: found, events, notes };
}

/** The most bytes of tensors that scoring takes. */
async function peakOf(files: Files, lowMemory: boolean): Promise<number> {
  const backend = await openBackend("wasm", { threads: 1, simd: "baseline" });
  await score({ ...COMMON, model: await open(files), backend, lowMemory });
  const { peak } = backend.memory();
  backend.dispose();
  return peak;
}

const groups = (events: readonly EvaluateEvent[]) => [
  ...new Set(
    events.flatMap((event) => (event.type === "block" ? [`${event.first}-${event.last}`] : [])),
  ),
];

test("one model: all in memory, by blocks with as many activations as have room, or refused", async () => {
  const given = async (maxMemory?: number) => ({
    ...{ ...COMMON, backend: "wasm" as BackendName, model: await open(dense), maxMemory },
  });
  const [whole, parts] = [await peakOf(dense, false), await peakOf(dense, true)];
  assert.ok(parts < 0.6 * whole, `${parts} of ${whole}`);
  const inMemory = await score(await given());
  const enough = await score(await given(whole));
  assert.equal(enough.score, inMemory.score);
  assert.equal([groups(enough.events), enough.notes], [[], []]);
  const { windows } = inMemory.score;
  assert.ok(windows > 10);
  const byBlocks = await score(await given(whole - 1));
  assert.equal(byBlocks.score, inMemory.score);
  assert.equal(groups(byBlocks.events), [`1-${windows}`]);
  assert.is(byBlocks.notes.length, 1);
  assert.match(
    byBlocks.notes[0],
    /^memory: all its weights in memory would take \d\.\d\d MB of memory, and `maxMemory` allows .*: one block's are there at a time, which takes .* and gives the same figures$/,
  );
  // Room for the activations of four windows, and for less than one.
  const stream = 4 * WINDOW * 128;
  const few = await score(await given(parts + 4 * stream));
  assert.equal(few.score, inMemory.score);
  assert.equal(groups(few.events).slice(0, 2), ["1-4", "5-8"]);
  const least = await score(await given(parts + stream));
  assert.equal(least.score, inMemory.score);
  const asked = await score({ ...(await given(parts + stream)), lowMemory: true });
  assert.equal([asked.score, asked.notes], [inMemory.score, []]);
  await refused(
    async () => score(await given(parts + stream - 1)),
    /even with one block in memory at a time the model would take .* MB of memory, and `maxMemory` allows .*; give a shorter `window`/,
  );
});

test("two models that are compared are held alike, and those that are open do not count", async () => {
  const both = async (maxMemory?: number) => ({
    ...{ ...COMMON, backend: "wasm" as BackendName, maxMemory },
    ...{ model: await open(made), against: await open(dense) },
  });
  const inMemory = await score(await both());
  const sum = (await peakOf(made, false)) + (await peakOf(dense, false));
  const byBlocks = await score(await both(sum));
  assert.equal(byBlocks.score, inMemory.score);
  assert.is(byBlocks.notes.length, 1);
  assert.match(byBlocks.notes[0], /^memory: all their weights in memory would take/);
  assert.equal(
    byBlocks.events.flatMap((event) => (event.type === "block" ? [event.done] : [])),
    Array.from({ length: 24 }, (_, i) => i + 1),
  );
  const backend = await openBackend("wasm", { threads: 1, simd: "baseline" });
  const model = await openModel(await open(made), { backend, maxTokens: WINDOW });
  const beside = await score({ ...(await both(sum / 2)), model, backend });
  assert.equal(beside.score, inMemory.score);
  assert.match(beside.notes[0], /^memory: all its weights in memory would take/);
  await model.close();
  backend.dispose();
});

/** A model whose weights nobody may read. */
async function unread(): Promise<Checkpoint> {
  const model = await open(dense);
  const fail = async () => {
    throw new Error("its weights were read");
  };
  return { ...model, read: fail, readRange: fail, readRun: fail, readFloat32: fail };
}

test("what holds all weights is refused before they are read", async () => {
  const common = { backend: "wasm", threads: 1, maxMemory: 2e6 } as const;
  const message =
    /\[memory\] the model would take \d\.\d\d MB of memory, and `maxMemory` allows 2\.00 MB; make it smaller/;
  await refused(async () => openModel(await unread(), common), message);
  await refused(
    async () => generate({ ...common, model: await unread(), prompt: "Once" }).result(),
    message,
  );
  const item = { context: "Once upon a", choices: ["time", "tree"], gold: 0 };
  const data = new File([JSON.stringify(item)], "mine.jsonl");
  const mine = { task: "mine", context: "{{context}}", choices: "choices", gold: "gold" };
  const tasks = [{ ...mine, data }];
  await refused(
    async () => evaluateTasks({ ...common, model: await unread(), tasks }).result(),
    message,
  );
  for (const maxMemory of [0, -1, Number.NaN, "4GiB"]) {
    await refused(
      async () => openModel(await open(dense), { maxMemory } as never),
      /maxMemory.* must be a number of bytes above 0/,
    );
  }
});

test("a cache of many tokens counts, and what has room runs", async () => {
  const backend = await openBackend("wasm", { threads: 1, simd: "baseline" });
  const given = { prompt: "Once upon a time", ignoreEos: true, maxNewTokens: 8 };
  const first = await generate({ ...given, model: await open(dense), backend }).result();
  const { peak } = backend.memory();
  backend.dispose();
  const asked = { ...given, backend: "wasm", threads: 1, simd: "baseline" } as const;
  const again = await generate({
    ...asked,
    model: await open(dense),
    maxMemory: 2 * peak,
  }).result();
  assert.equal(again.ids, first.ids);
  // Twelve blocks of 1,024 positions take 6 MB more.
  await refused(
    async () =>
      generate({ ...asked, model: await unread(), maxMemory: peak, maxNewTokens: 1024 }).result(),
    /would take/,
  );
});

test("the commands take the flag", async () => {
  const text = `${MODEL}/evaluation.txt`;
  const run = (...args: string[]) => penjing([...args, "--backend", "wasm", "--threads", "1"]);
  const scored = await run("eval", MODEL, "--text", text, "--max-memory", "3MB", "--window", "64");
  assert.is(scored.code, 0, scored.stderr);
  assert.match(scored.stderr, /note: memory: all its weights .* and --max-memory allows 3\.00 MB/);
  const plain = await run("eval", MODEL, "--text", text, "--window", "64");
  const figure = /^perplexity .*$/m;
  assert.is(figure.exec(scored.stdout)![0], figure.exec(plain.stdout)![0]);
  for (const args of [
    ["generate", MODEL, "Once", "--max-memory", "1MiB"],
    ["eval", MODEL, "--text", text, "--max-memory", "0.000001%"],
  ]) {
    const { code, stderr, stdout } = await run(...args);
    assert.is(code, 1, stderr);
    assert.match(stderr, /^penjing: \[.*stories-1m\] .*would take .* and --max-memory allows/);
    assert.is(stdout, "");
  }
});

test.run();
