// --activations of generate and eval: what it does, what is said of it, what is refused.
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compressFiles, EVALUATION, storyFiles } from "../compress/stories.js";
import { taskFiles } from "../tasks/rows.js";
import { fails, MODEL, penjing, scratch } from "./program.js";

const test = suite("cli activations");
const folder = scratch(test);
const model = join(folder, "int4");
const { files } = await compressFiles(storyFiles(), {
  ...{ method: "rtn", options: { bits: 4, groupSize: 32 }, layout: "grouped-int" },
  embeddingBits: 4,
});
const data = join(folder, "data");
const place = (home: string, all: Readonly<Record<string, Uint8Array>>) => {
  for (const [name, bytes] of Object.entries(all)) {
    mkdirSync(dirname(join(home, name)), { recursive: true });
    writeFileSync(join(home, name), bytes);
  }
};
place(model, files);
place(data, taskFiles());
const text = join(folder, "text.txt");
writeFileSync(text, EVALUATION.slice(0, 900));

const REFERENCE = ["--backend", "reference"];
const GENERATE = ["generate", model, "Once upon a time", "--max-new-tokens", "4", ...REFERENCE];
const EVAL = ["eval", model, "--text", text, "--window", "64", ...REFERENCE];

test("generate rounds unless told otherwise, and says so below its text and in its JSON", async () => {
  const [unasked, float] = [
    await penjing(GENERATE),
    await penjing([...GENERATE, "--activations", "float"]),
  ];
  assert.match(unasked.stderr, /tokens\/s on reference, int8 activations; stopped by length/);
  assert.match(float.stderr, /tokens\/s on reference; stopped by length/);
  const json = async (...more: string[]) =>
    JSON.parse((await penjing([...GENERATE, "--json", ...more])).stdout);
  assert.is((await json()).activations, "int8");
  assert.is("activations" in (await json("--activations", "float")), false);
  const { stdout } = await penjing([...GENERATE, "--explain"]);
  assert.match(stdout, /^multiply \(dense x int4 by 32, int8 activations\) +reference /m);
});

test("eval judges weights alone unless int8 is asked for, and says so then", async () => {
  const [unasked, int8] = [await penjing(EVAL), await penjing([...EVAL, "--activations", "int8"])];
  assert.not.match(unasked.stdout, /activations/);
  assert.match(int8.stdout, /^arithmetic {3}int8 activations\ntime /m);
  const figure = (stdout: string) => Number(/^perplexity +(\S+)$/m.exec(stdout)![1]);
  const ratio = figure(int8.stdout) / figure(unasked.stdout);
  assert.ok(ratio !== 1 && Math.abs(ratio - 1) < 0.01, `${ratio}`);
});

test("eval says it of texts and tasks in its JSON, and of tasks in print", async () => {
  const tasks = ["--tasks", "piqa", "--data", data, "--activations", "int8"];
  const found = JSON.parse((await penjing([...EVAL, ...tasks, "--json"])).stdout);
  assert.equal([found.activations, found.tasks.activations], ["int8", "int8"]);
  const { stdout } = await penjing(["eval", model, ...tasks, ...REFERENCE]);
  assert.match(stdout, /^arithmetic {3}int8 activations\ntime /m);
  const plain = await penjing(["eval", model, ...tasks.slice(0, 4), ...REFERENCE, "--json"]);
  assert.is("activations" in JSON.parse(plain.stdout), false);
});

test("a model without codes is run as it is, whatever is asked for", async () => {
  const args = ["eval", MODEL, "--text", text, "--window", "64", ...REFERENCE];
  const [float, int8] = [await penjing(args), await penjing([...args, "--activations", "int8"])];
  const figures = ({ stdout }: typeof float) => stdout.replace(/^time .*/m, "");
  assert.match(float.stdout, /^perplexity/);
  assert.is(figures(int8), figures(float));
});

test("what is neither is refused, with what there is", async () => {
  const message = /option '--activations <kind>' argument 'int4' is invalid\. .*int8, float/;
  for (const args of [GENERATE, EVAL]) {
    await fails([...args, "--activations", "int4"], message, folder, 2);
  }
});

test("the help says which is which, and what each command takes unasked", async () => {
  for (const [command, unasked] of [
    ["generate", "int8"],
    ["eval", "float"],
  ]) {
    const { stdout } = await penjing([command, "--help"]);
    const flat = stdout.replace(/\s+/g, " ");
    const option = new RegExp(
      `--activations <kind> .*\\(choices: "int8", "float", default: "${unasked}"\\)`,
    );
    assert.match(flat, option);
  }
  // compress makes the model, and always judges its weights alone.
  const made = ["compress", MODEL, "--out", join(folder, "out"), "--activations", "int8"];
  await fails(made, /unknown option '--activations'/, folder, 2);
});

test.run();
