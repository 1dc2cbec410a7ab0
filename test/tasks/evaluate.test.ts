import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openWasm } from "../../src/backends/wasm.js";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { loadTokenizer } from "../../src/checkpoint/tokenizer.js";
import { type EvaluateTasksOptions, evaluateTasks } from "../../src/evaluate-tasks.js";
import { loadDecoder } from "../../src/models/open.js";
import { readModel } from "../../src/models/stored.js";
import { memoryFolder } from "../../src/platform/files.js";
import { TASKS } from "../../src/tasks/builtin.js";
import { readTask } from "../../src/tasks/read.js";
import { requestOf, sharedPrefix } from "../../src/tasks/requests.js";
import { refused } from "../checkpoint/crafted.js";
import { note, repositoryRoot, sharedPath } from "../shared.js";
import { yardstickPath, yardstickTest } from "../yardstick.js";
import { taskFiles } from "./rows.js";

const test = suite("evaluate tasks");
const MODEL = join(repositoryRoot, "examples", "stories-1m");
const data = memoryFolder(taskFiles());
const run = (options: Partial<EvaluateTasksOptions> = {}) =>
  evaluateTasks({ model: MODEL, data, backend: "wasm", ...options });

test("requests: spaces move to the continuation, and what is too long loses its beginning", async () => {
  const checkpoint = await openCheckpoint(MODEL);
  const tokenizer = await loadTokenizer(checkpoint.folder);
  await checkpoint.close();
  const plain = { bosId: undefined, emptyId: undefined, most: 100 };
  const encode = (text: string) => [...tokenizer.encode(text, { addSpecialTokens: false })];
  const [context, continuation] = ["Once upon a time  ", "there was a cat"];
  const whole = encode("Once upon a time   there was a cat");
  const { ids, first, cut } = requestOf(tokenizer, { context, continuation }, plain);
  assert.equal([...ids], whole);
  assert.is(first, encode("Once upon a time").length);
  assert.is(cut, 0);
  const begun = requestOf(tokenizer, { context, continuation }, { ...plain, bosId: 1 });
  assert.equal([...begun.ids], [1, ...whole]);
  assert.is(begun.first, first + 1);
  const empty = requestOf(tokenizer, { context: "", continuation }, { ...plain, emptyId: 2 });
  assert.equal([...empty.ids], [2, ...encode(` ${continuation}`)]);
  assert.is(empty.first, 1);
  const short = requestOf(tokenizer, { context, continuation }, { ...plain, most: ids.length - 3 });
  assert.equal([...short.ids], whole.slice(2));
  assert.is(short.cut, 2);
  assert.is(short.first, first - 2);
  const other = { ids: Int32Array.of(...whole.slice(0, 3), 0, 0, 0), first: 5, cut: 0 };
  assert.is(sharedPrefix([{ ids, first, cut }, other]), Math.min(3, first - 1));
});

test("log-likelihoods are those of each choice by itself, for fewer tokens", async () => {
  const backend = await openWasm();
  const checkpoint = await openCheckpoint(MODEL);
  const model = readModel(checkpoint);
  const tokenizer = await loadTokenizer(checkpoint.folder);
  const decoder = await loadDecoder(model, backend, 256);
  const { vocabSize, context: most } = model.spec;
  const { tasks, tokens, tokensAlone, mean } = await run({ backend }).result();
  assert.equal(
    tasks.map(({ task }) => task),
    Object.keys(TASKS),
  );
  let alone = 0;
  for (const { task, logLikelihoods, items, gold } of tasks) {
    const read = await readTask(TASKS[task], data);
    assert.is(items, read.length);
    assert.equal(
      gold,
      read.map((item) => item.gold),
    );
    for (const [i, { choices }] of read.entries()) {
      for (const [j, choice] of choices.entries()) {
        const bosId = [...tokenizer.encode("", { addSpecialTokens: true })][0];
        const { ids, first } = requestOf(tokenizer, choice, { bosId, emptyId: undefined, most });
        const out = backend.zeros([ids.length - 1, vocabSize]);
        decoder.logits(ids.subarray(0, -1), out);
        const logits = (await backend.read(out)) as Float32Array;
        let sum = 0;
        for (let at = first; at < ids.length; at++) {
          const row = logits.subarray((at - 1) * vocabSize, at * vocabSize);
          const top = row.reduce((a, b) => Math.max(a, b));
          const total = row.reduce((a, b) => a + Math.exp(b - top), 0);
          sum += row[ids[at]] - top - Math.log(total);
        }
        alone += ids.length - 1;
        out.dispose();
        assert.ok(Math.abs(logLikelihoods[i][j] - sum) < 1e-3, `${task} ${i} ${j}: ${sum}`);
      }
    }
  }
  assert.is(tokensAlone, alone);
  assert.ok(tokens < 0.8 * alone, `${tokens} of ${alone}`);
  const shown = tasks.map(({ accuracies, metric }) => accuracies[metric]!.value);
  assert.ok(Math.abs(mean - shown.reduce((a, b) => a + b, 0) / 5) < 1e-12);
  decoder.dispose();
  await checkpoint.close();
  backend.dispose();
});

test("it tells how far it is, can be stopped, and leaves nothing behind", async () => {
  const backend = await openWasm();
  const stop = new AbortController();
  const { live } = backend.memory();
  const seen: [string, number, number][] = [];
  const work = run({ backend, tasks: ["piqa", "arc_easy"], signal: stop.signal });
  for await (const event of work) {
    if (event.type === "progress") seen.push([event.task, event.done, event.items]);
  }
  assert.equal(seen, [
    ["piqa", 1, 2],
    ["piqa", 2, 2],
    ["arc_easy", 1, 1],
  ]);
  assert.is(backend.memory().live, live);
  let error: unknown;
  try {
    for await (const event of run({ backend, signal: stop.signal })) {
      if (event.type === "progress") stop.abort(new Error("enough"));
    }
  } catch (thrown) {
    error = thrown;
  }
  assert.match(String(error), /enough/);
  assert.is(backend.memory().live, live);
  backend.dispose();
});

test("what cannot be asked is refused", async () => {
  const fails = (options: object, message: RegExp) => refused(() => run(options).result(), message);
  await fails({ tasks: ["piqua"] }, /"piqua".*"piqa"/);
  await fails({ tasks: [] }, /a list of tasks: piqa, winogrande/);
  await fails({ limit: 0 }, /limit\] it is 0, must be a whole number of at least 1/);
  await fails({ data: undefined }, /data/);
  await fails({ data: join(repositoryRoot, "nowhere") }, /nowhere/);
});

yardstickTest(test, "on a real model the sums are those of lm-evaluation-harness", async () => {
  const golden = JSON.parse(readFileSync(sharedPath("golden", "smollm2", "zeroshot.json"), "utf8"));
  const limit = 3;
  const { tasks, tokens, tokensAlone } = await run({
    ...{ model: yardstickPath("smollm2"), data: sharedPath("data", "zeroshot"), limit },
    simd: "baseline",
  }).result();
  let worst = 0;
  for (const { task, logLikelihoods } of tasks) {
    const theirs = golden.logLikelihoods[task].slice(0, limit) as number[][];
    assert.is(logLikelihoods.length, limit);
    for (const [i, sums] of logLikelihoods.entries()) {
      assert.is(sums.length, theirs[i].length);
      for (const [j, sum] of sums.entries()) worst = Math.max(worst, Math.abs(sum - theirs[i][j]));
    }
  }
  note(
    `log-likelihoods within ${worst.toExponential(1)} of lm-eval's; ${((100 * tokens) / tokensAlone).toFixed(0)}% of the tokens`,
  );
  assert.ok(worst < 1e-3, `${worst}`);
});

test.run();
