import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readRows } from "../../src/datasets/rows.js";
import { evaluateTasks, type TaskDefinition } from "../../src/evaluate-tasks.js";
import { memorySource } from "../../src/platform/files.js";
import { ownTask } from "../../src/tasks/definition.js";
import { openTaskFile, readItems } from "../../src/tasks/read.js";
import { refused } from "../checkpoint/crafted.js";
import { repositoryRoot } from "../shared.js";

const test = suite("own tasks");
const MODEL = join(repositoryRoot, "examples", "stories-1m");

/** A file of rows. */
function rows(list: readonly object[], name = "rows.jsonl") {
  return new File([list.map((row) => `${JSON.stringify(row)}\n`).join("")], name);
}

const ROW = { q: "Two and two?", options: ["five", "four"], answer: 1, key: "B" };
const PLAIN: TaskDefinition = {
  task: "sums",
  data: rows([ROW]),
  context: "Question: {{ q }}\nAnswer:",
  choices: "options",
  gold: "answer",
};

async function itemsOf(change: object = {}, row: object = ROW) {
  const definition = { ...PLAIN, data: rows([row]), ...change } as TaskDefinition;
  return readItems(ownTask(definition), await openTaskFile(definition.data));
}

test("templates make the context and the choices, and gold is found in many ways", async () => {
  const context = "Question: Two and two?\nAnswer:";
  const choices = ["five", "four"].map((continuation) => ({ context, continuation }));
  assert.equal(await itemsOf(), [{ choices, gold: 1 }]);
  for (const [change, row] of [
    [{ gold: 1 }, ROW],
    [{}, { ...ROW, answer: "1" }],
    [{}, { ...ROW, answer: "four" }],
    [{ gold: "key", labels: ["A", "B"] }, ROW],
    [
      { gold: "key", labels: "names" },
      { ...ROW, names: ["A", "B"] },
    ],
    [{ gold: "answer", labels: [7, 1] }, ROW],
    [{ choices: ["{{ options[0] }}", "{{ options | last }}"] }, ROW],
    [{ choices: "options.all" }, { ...ROW, options: { all: ["five", "four"] } }],
  ] as const) {
    assert.equal(await itemsOf(change, row), [{ choices, gold: 1 }], JSON.stringify(change));
  }
});

test("columns may be called anything", async () => {
  const row = { ...ROW, namespace: "n", range: "r", true: "t", constructor: "c" };
  const [item] = await itemsOf({ context: "{{ namespace }} {{ range }} {{ constructor }}" }, row);
  assert.is(item.choices[0].context, "n r c");
});

test("what is scored may be the same for all, and what stands before differ", async () => {
  const change = {
    choices: ["box", "cup"],
    context: "The {{ choice }}",
    continuation: " was {{ how }}.",
    gold: 0,
  };
  assert.equal(await itemsOf(change, { how: "red" }), [
    {
      choices: ["The box", "The cup"].map((context) => ({ context, continuation: "was red." })),
      gold: 0,
    },
  ]);
  assert.is(ownTask({ ...PLAIN, ...change }).metric, "acc");
  assert.equal(ownTask({ ...PLAIN, ...change }).metrics, ["acc"]);
  assert.is(ownTask(PLAIN).metric, "acc_norm");
});

test("what is missing or does not fit is said where it is", async () => {
  const row = (change: object) => ({ ...ROW, ...change });
  const inRow = "rows\\.jsonl, line 1\\] ";
  for (const [change, data, message] of [
    [{ context: undefined }, ROW, /task sums\] context is missing/],
    [{ where: "sums.yaml", metric: "f1" }, ROW, /sums\.yaml\] metric is "f1", must be acc,/],
    [{ task: "a b" }, ROW, /task is "a b", must be letters/],
    [{ task: "piqa" }, ROW, /task is piqa, which penjing has already; choose another name/],
    [{ data: 5 }, ROW, /task sums\] data is 5, must be a file's path, a File, or an open file/],
    [{ data: new Blob(["{}"]) }, ROW, /a Blob has no name, which says of what format it is/],
    [{ where: 5 }, ROW, /task sums\] where is 5/],
    [{ choices: [1, 2] }, ROW, /choices is an object \(Array\), must be a list of texts/],
    [{ choices: [] }, ROW, /choices is an object \(Array\), must be a list of texts/],
    [{ choices: ["a", "b"], gold: 2 }, ROW, /gold is 2, must be the place of one of the 2 choices/],
    [{ continuation: "{{ choice }}!", metric: "acc_norm" }, ROW, /metric is acc_norm, must be acc/],
    [
      { choices: undefined, gold: undefined, continuation: "x", metric: "acc_bytes" },
      ROW,
      /metric is acc_bytes, must be acc where/,
    ],
    [{}, row({ options: ["a"] }), `${inRow}it has one choice, and there is none to be made`],
    [{ gold: "none", labels: ["undefined", "b"] }, ROW, `${inRow}"none" is missing`],
    [{ contexts: "" }, ROW, /"contexts"/],
    [{ gold: undefined }, ROW, /gold is missing; give the column/],
    [{ choices: undefined }, ROW, /neither choices nor a continuation/],
    [{ choices: undefined, continuation: "x" }, ROW, /gold goes with choices/],
    [{ context: "{{ q" }, ROW, /a template of the task is not a Jinja template/],
    [
      {},
      row({ q: undefined }),
      `${inRow}a template of the task fails on this row \\(there is no q\\)`,
    ],
    [{ context: "{{ q.nope }}" }, ROW, `${inRow}a template of the task fails on this row`],
    [
      { context: "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}" },
      ROW,
      `${inRow}a template of the task was stopped`,
    ],
    [{}, row({ q: "", options: ["a", "b"] }), undefined],
    [{ context: "{{ q }}" }, row({ q: " " }), `${inRow}its context is empty`],
    [{}, row({ options: ["a", ""] }), `${inRow}its continuation is empty`],
    [{}, row({ options: ["a", "b", "a"] }), `${inRow}its choices 1 and 3 are the same`],
    [{}, row({ options: "a" }), `${inRow}"options" is "a", must be a list of texts`],
    [{}, row({ answer: 2 }), `${inRow}"answer" is 2, must be the right one of the 2 choices`],
    [{}, row({ answer: "six" }), `${inRow}"answer" is "six"`],
    [{ gold: 5 }, ROW, `${inRow}"gold" is 5, must be the right one of the 2 choices`],
    [{ gold: "key", labels: ["C"] }, ROW, `${inRow}"key" is "B", must be one of the labels`],
    [{ gold: "key", labels: "q" }, ROW, `${inRow}"q" is .* must be a list of labels`],
  ] as const) {
    const read = () => itemsOf(change, data);
    if (message === undefined) await read();
    else await refused(read, new RegExp(message), JSON.stringify(change));
  }
  await refused(
    () => readItems(ownTask(PLAIN), memorySource("none.jsonl", new Uint8Array())),
    /none\.jsonl\] it has no rows for sums/,
  );
});

test("rows come from JSON Lines, Parquet and the lines of a text", async () => {
  const read = async (name: string, bytes: Uint8Array) => {
    const found = [];
    for await (const { where, cells } of readRows(memorySource(name, bytes))) {
      found.push([where, cells]);
    }
    return found;
  };
  const text = new TextEncoder().encode("One line.\r\n\n  Another.\n");
  assert.equal(await read("a.txt", text), [
    ["a.txt, line 1", { text: "One line." }],
    ["a.txt, line 3", { text: "Another." }],
  ]);
  const lines = new TextEncoder().encode('{"a": 1}\n\n{"b": [2]}');
  assert.equal(await read("a.jsonl", lines), [
    ["a.jsonl, line 1", { a: 1 }],
    ["a.jsonl, line 3", { b: [2] }],
  ]);
});

test("LAMBADA's and BLiMP's rules, and tasks beside each other, on a real model", async () => {
  const stories = readFileSync(join(MODEL, "evaluation.txt"), "utf8");
  const lastWord: TaskDefinition = {
    task: "last-word",
    data: new File([stories], "stories.txt"),
    context: "{{ text.split(' ')[:-1] | join(' ') }}",
    continuation: "{{ text.split(' ') | last }}",
  };
  const pairs: TaskDefinition = {
    task: "pairs",
    data: rows([
      { good: "The little girl was happy.", bad: "The little girl were happy." },
      { good: "He wanted to find his ball.", bad: "He wanted to finds his ball." },
    ]),
    context: "",
    choices: ["{{ bad }}", "{{ good }}"],
    gold: 1,
    metric: "acc",
  };
  const backend = "wasm" as const;
  const { tasks } = await evaluateTasks({
    ...{ model: MODEL, tasks: [lastWord, pairs], limit: 40, backend },
  }).result();
  const [words, sentences] = tasks;
  assert.is(words.items, 40);
  assert.ok(words.accuracies.acc!.value > 0.05 && words.accuracies.acc!.value < 0.5);
  const nats = words.logLikelihoods.flat();
  const mean = nats.reduce((sum, one) => sum + one, 0) / nats.length;
  assert.ok(Math.abs(words.perplexity! / Math.exp(-mean) - 1) < 1e-12);
  assert.is(sentences.accuracies.acc!.value, 1);
  assert.is(sentences.perplexity, undefined);
  await refused(
    () => evaluateTasks({ model: MODEL, tasks: [pairs, pairs], backend }).result(),
    /two of them are called pairs/,
  );
  await refused(
    () => evaluateTasks({ model: MODEL, tasks: [pairs], files: { piqa: "x" }, backend }).result(),
    /files\] piqa is none of the tasks/,
  );
});

test.run();
