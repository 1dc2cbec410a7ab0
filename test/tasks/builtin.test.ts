import { suite } from "uvu";
import * as assert from "uvu/assert";
import { memoryFolder } from "../../src/platform/files.js";
import { TASKS } from "../../src/tasks/builtin.js";
import { accuraciesOf, answerOf, exactMcNemar, flipsOf } from "../../src/tasks/figures.js";
import { readKnown } from "../../src/tasks/read.js";
import type { TaskItem } from "../../src/tasks/task.js";
import { refused } from "../checkpoint/crafted.js";
import { ROWS, taskFiles } from "./rows.js";

const test = suite("built-in tasks");

const read = (name: string, files = taskFiles(), limit?: number) =>
  readKnown(TASKS[name], memoryFolder(files), { limit });

const held = (...sums: number[]) => sums.map((sum) => ({ sum, isGreedy: false }));

test("each asks what lm-evaluation-harness asks", async () => {
  const [first, second] = await read("piqa");
  assert.equal(first, {
    choices: [
      { context: "Question: keep tea warm\nAnswer:", continuation: "Put a lid on the cup." },
      { context: "Question: keep tea warm\nAnswer:", continuation: "Put the cup into the snow." },
    ],
    gold: 0,
  });
  assert.is(second.gold, 1);
  const [easy] = await read("arc_easy");
  assert.is(easy.choices[2].context, "Question: What do plants drink?\nAnswer:");
  assert.is(easy.choices[2].continuation, "light");
  assert.is(easy.gold, 1);
  const [challenge] = await read("arc_challenge");
  assert.is(challenge.choices.length, 5);
  assert.is(challenge.gold, 2);
  const [swag] = await read("hellaswag");
  const context = "Baking bread: The dough rests for an hour. The baker";
  assert.equal(swag, {
    choices: ["shapes. it.", "sings", "flies away.", "eats the oven."].map((continuation) => ({
      context,
      continuation,
    })),
    gold: 0,
  });
  const [cup] = await read("winogrande");
  assert.equal(
    cup.choices.map((choice) => choice.context),
    ["the box", "the cup"].map((option) => `The cup did not fit the box because ${option}`),
  );
  assert.equal(
    cup.choices.map((choice) => choice.continuation),
    ["was too large.", "was too large."],
  );
  assert.is(cup.gold, 1);
  assert.is((await read("piqa", taskFiles(), 1)).length, 1);
});

test("rows that are none of a task are refused by their column", async () => {
  const broken = async (name: string, file: string, change: object, message: RegExp) => {
    const rows = { ...ROWS, [file]: ROWS[file].map((row) => ({ ...row, ...change })) };
    await refused(() => read(name, taskFiles(rows)), message);
  };
  const piqa = "piqa/valid.jsonl";
  await broken("piqa", piqa, { goal: 7 }, /valid\.jsonl, line 1\] "goal" is 7, must be a text/);
  await broken("piqa", piqa, { label: 2 }, /"label" is 2, must be the right one of the 2 choices/);
  const arc = "arc/ARC-Easy-Test.jsonl";
  await broken("arc_easy", arc, { choices: undefined }, /"choices" is missing, must be an object/);
  await broken("arc_easy", arc, { answerKey: "E" }, /"answerKey" is "E", must be the right one of/);
  const swag = "hellaswag/hellaswag_val.jsonl";
  await broken("hellaswag", swag, { endings: [] }, /"endings" is .*must be a list of texts/);
  const dev = "winogrande/dev.jsonl";
  await broken(
    "winogrande",
    dev,
    { sentence: "no gap" },
    /"sentence" is "no gap", must be a text with _/,
  );
  await broken(
    "winogrande",
    dev,
    { answer: "3" },
    /"answer" is "3", must be the right one of the 2/,
  );
});

test("files are found by name, and what is not clear is refused", async () => {
  const files = taskFiles();
  const { "piqa/valid.jsonl": rows, "piqa/valid-labels.lst": labels, ...others } = files;
  await refused(() => read("piqa", others), /it has no file with the rows of piqa/);
  // A folder named like the task goes before others.
  assert.is((await read("piqa", { ...files, "valid.jsonl": rows })).length, 2);
  const twice = { ...others, "a/valid.jsonl": rows, "b/valid.jsonl": rows };
  await refused(
    () => read("piqa", twice),
    /a\/valid\.jsonl, b\/valid\.jsonl may all be the rows of piqa; keep one/,
  );
  assert.is((await read("piqa", { "valid.jsonl": rows, "valid-labels.lst": labels })).length, 2);
  const empty = { ...files, "piqa/valid.jsonl": new Uint8Array() };
  await refused(() => read("piqa", empty), /it has no rows for piqa/);
  const list = { ...files, "piqa/valid.jsonl": new TextEncoder().encode("[1]\n") };
  await refused(() => read("piqa", list), /line 1\] a line of JSON Lines holds one object/);
  await refused(
    () => read("piqa", { "piqa/valid.jsonl": rows }),
    /it has no label, and PIQA.s labels are in a file of their own/,
  );
});

test("answers: the likeliest, by what it is divided by, the first among equals", () => {
  const item: TaskItem = {
    choices: ["ab", "abcd", "ü"].map((continuation) => ({ context: "", continuation })),
    gold: 1,
  };
  assert.is(answerOf(item, held(-4, -6, -5), "acc"), 0);
  assert.is(answerOf(item, held(-4, -6, -5), "acc_norm"), 1);
  assert.is(answerOf(item, held(-4, -10, -3.8), "acc_bytes"), 2);
  assert.is(answerOf(item, held(-4, -10, -3.8), "acc_norm"), 0);
  assert.is(answerOf(item, held(-4, -4, -4), "acc"), 0);
  const items = [item, item, item];
  const figures = accuraciesOf({ metrics: ["acc", "acc_norm"] }, items, [
    held(-4, -6, -5),
    held(-4, -3, -5),
    held(-9, -3, -5),
  ]);
  assert.ok(Math.abs(figures.acc!.value - 2 / 3) < 1e-12);
  // The standard deviation of 0, 1, 1 is sqrt(1/3).
  assert.ok(Math.abs(figures.acc!.stderr! - Math.sqrt(1 / 3 / 3)) < 1e-12);
  assert.equal(figures.acc_norm, { value: 1, stderr: 0 });
  assert.is(figures.acc_bytes, undefined);
  const [one] = Object.values(accuraciesOf({ metrics: ["acc"] }, [item], [held(-1, -2, -3)]));
  assert.equal(one, { value: 0, stderr: undefined });
});

test("flips, and McNemar's exact test", () => {
  const right = [true, true, false, true, false, false];
  const other = [true, false, true, true, true, true];
  assert.equal(flipsOf(right, other), { flips: 4, gained: 1, lost: 3, pValue: 0.625 });
  assert.is(flipsOf(right, right).pValue, 1);
  // P(X <= 2) of 10 coins is 56 / 1024.
  assert.ok(Math.abs(exactMcNemar(2, 8) - 112 / 1024) < 1e-12);
  assert.is(exactMcNemar(8, 2), exactMcNemar(2, 8));
  assert.is(exactMcNemar(5, 5), 1);
  // Far beyond where 2^-n is a number: the normal limit of 4 standard deviations, 6.3e-5.
  const many = exactMcNemar(4900, 5300);
  assert.ok(many > 5e-5 && many < 1e-4, `${many}`);
});

test.run();
