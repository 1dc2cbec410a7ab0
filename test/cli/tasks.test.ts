import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { evaluateTasks, type Likelihood } from "../../src/evaluate-tasks.js";
import { memoryFolder } from "../../src/platform/files.js";
import { repositoryRoot } from "../shared.js";
import { taskFiles } from "../tasks/rows.js";
import { EVALUATION, fails, MODEL, penjing, scratch } from "./program.js";

const test = suite("cli tasks");
const folder = scratch(test);
for (const [name, bytes] of Object.entries(taskFiles())) {
  mkdirSync(dirname(join(folder, name)), { recursive: true });
  writeFileSync(join(folder, name), bytes);
}
/** The model once more, to be compared with. */
const DENSE = join(folder, "dense");
cpSync(MODEL, DENSE, { recursive: true });
const ARGS = ["eval", MODEL, "--data", folder, "--tasks"];

test("eval --tasks prints a row for each task, and their mean", async () => {
  const { code, stdout, stderr } = await penjing([...ARGS, "all"]);
  assert.is(code, 0, stderr);
  assert.match(stdout, /^task +items +reported +acc +acc_norm +acc_bytes$/m);
  assert.match(stdout, /^piqa +2 +acc_norm +[01]\.\d{4} ± [01]\.\d{4} +/m);
  assert.match(stdout, /^winogrande +1 +acc +[01]\.0000 +- +-$/m);
  assert.match(stdout, /^mean +[01]\.\d{4} of what is reported$/m);
  assert.match(stdout, /^tokens +\d+, \d\d% of those of each choice by itself$/m);
  assert.match(stderr, /^eval 100%: arc_challenge 1 of 1, [01]\.000 right$/m);
});

test("eval --tasks --json has the form of lm-evaluation-harness", async () => {
  const { stdout } = await penjing([...ARGS, "piqa,winogrande", "--limit", "1", "--json"]);
  const found = JSON.parse(stdout);
  assert.equal(Object.keys(found.results), ["piqa", "winogrande"]);
  const { piqa, winogrande } = found.results;
  assert.equal(Object.keys(piqa), [
    "alias",
    ...["acc", "acc_norm", "acc_bytes"].flatMap((one) => [`${one},none`, `${one}_stderr,none`]),
  ]);
  assert.is(piqa["acc_stderr,none"], "N/A");
  assert.ok([0, 1].includes(winogrande["acc,none"]));
  assert.equal(found["n-samples"], { piqa: { effective: 1 }, winogrande: { effective: 1 } });
  assert.is(found.config.limit, 1);
  assert.is(found.logLikelihoods.piqa[0].length, 2);
  assert.ok(found.logLikelihoods.piqa.flat().every((sum: number) => sum < 0));
});

test("a text and tasks may be scored together, with what belongs to each", async () => {
  const both = ["--text", EVALUATION, "--window", "128", "--against", DENSE, "--json"];
  const { stdout, stderr } = await penjing([...ARGS, "piqa", ...both]);
  const found = JSON.parse(stdout || "{}");
  assert.ok(found.perplexity > 1, stderr);
  assert.ok(found.against.kl < 1e-9);
  const { against, results } = found.tasks;
  assert.equal(against.results, results);
  assert.equal(against.flips.piqa, { flips: 0, share: 0, gained: 0, lost: 0, pValue: 1 });
  await fails(["eval", MODEL], /there is nothing to score; give --text, --tasks or both/, folder);
  await fails(
    [...ARGS, "piqa", "--window", "64"],
    /--window\] it goes with --text; leave it out/,
    folder,
  );
  await fails(
    ["eval", MODEL, "--text", EVALUATION, "--limit", "3"],
    /--limit\] it goes with --tasks/,
    folder,
  );
  await fails(
    ["eval", MODEL, "--tasks", "piqa"],
    /nothing says where their rows are; give --data/,
    folder,
  );
  await fails([...ARGS, "all,piqa"], /"all"/, folder);
  await fails([...ARGS, "piqa,lambada"], /"lambada"/, folder);
  await fails([...ARGS, "piqa", "--data", "elsewhere"], /are two folders; give one/, folder);
});

test("tasks of one's own, and files of single tasks", async () => {
  const at = (name: string) => join(folder, name);
  const examples = join(repositoryRoot, "examples", "tasks");
  const own = [join(examples, "last-word.yaml"), join(examples, "minimal-pairs.yaml")].join(",");
  const { code, stdout, stderr } = await penjing(["eval", MODEL, "--tasks", own, "--limit", "12"]);
  assert.is(code, 0, stderr);
  assert.match(stdout, /^last-word +12 +acc +0\.\d{4} ± 0\.\d{4} +- +-$/m);
  assert.match(stdout, /^minimal-pairs +12 +acc +1\.0000 /m);
  assert.match(stdout, /^perplexity +\d+\.\d{3} of last-word$/m);
  const one = ["--data", `piqa=${at("piqa/valid.jsonl")}`];
  await fails(
    ["eval", MODEL, "--tasks", "piqa", ...one],
    /it has no label, and PIQA.s labels are in a file of their own/,
    folder,
  );
  writeFileSync(at("list.yaml"), "- 1\n");
  await fails(["eval", MODEL, "--tasks", at("list.yaml")], /must hold the keys of a task/, folder);
  writeFileSync(at("twice.yaml"), "task: a\ntask: b\n");
  await fails(["eval", MODEL, "--tasks", at("twice.yaml")], /"task" stands twice/, folder);
  writeFileSync(at("gone.yaml"), 'task: a\ndata: gone.jsonl\ncontext: ""\ncontinuation: x\n');
  await fails(["eval", MODEL, "--tasks", at("gone.yaml")], /gone\.jsonl/, folder);
});

test("--out keeps answers until the results are written", async () => {
  const out = join(folder, "results.json");
  const partial = `${out}.partial`;
  const keep = (answers: string) => {
    mkdirSync(partial, { recursive: true });
    writeFileSync(join(partial, ".penjing-work"), "");
    writeFileSync(join(partial, "answers.kept"), answers);
  };
  const args = [...ARGS, "piqa,arc_easy", "--out", out];
  assert.is((await penjing([...args, "--json"])).code, 0);
  const whole = readFileSync(out, "utf8");
  assert.not(existsSync(partial));
  await fails(args, /results\.json\] it is there already; move it away/, folder);
  // As a run leaves it that was killed while it wrote its second answer.
  rmSync(out);
  const answers = new Map<string, Likelihood>();
  const data = memoryFolder(taskFiles());
  const given = { model: MODEL, tasks: ["piqa"], data, answers };
  await evaluateTasks(given).result();
  const lines = Array.from(answers, ([key, { sum, isGreedy }]) =>
    JSON.stringify([key, sum, isGreedy]),
  );
  keep(`${lines[0]}\n${lines[1].slice(0, 30)}`);
  const again = await penjing(args);
  assert.is(again.code, 0, again.stderr);
  assert.match(again.stderr, /results\.json\.partial: 1 answers of an earlier run are taken/);
  assert.match(again.stdout, /^known +1 choices, from an earlier run$/m);
  const results = (text: string) => JSON.parse(text).results;
  assert.equal(results(readFileSync(out, "utf8")), results(whole));
  assert.not(existsSync(partial));
  rmSync(out);
  keep('["0123456789abcdef/00",-1,true]\n');
  const others = await penjing(args);
  assert.match(others.stderr, /it has answers of another model/);
  assert.not.match(others.stderr, /the same command goes on/);
  keep("{}\n");
  await fails(args, /line 1\] it is no answer of a task/, folder);
  rmSync(partial, { recursive: true });
  writeFileSync(partial, "of somebody else");
  await fails(args, /results\.json\.partial/, folder);
  assert.is(readFileSync(partial, "utf8"), "of somebody else");
  rmSync(partial);
  await fails([...args, "--out", ""], /--out\] it is empty; give a file's name/, folder);
  await fails([...args, "--limit", "0"], /limit/, folder);
  assert.not(existsSync(partial));
});

test("--json=lines prints every event, and at last the result", async () => {
  const { stdout, stderr } = await penjing([...ARGS, "piqa", "--json=lines"]);
  assert.is(stderr, "");
  const lines = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.equal(
    lines.map(({ type, work }) => [type, work]),
    [
      ["progress", "eval"],
      ["progress", "eval"],
      ["result", undefined],
    ],
  );
  assert.equal([lines[0].task, lines[0].done, lines[0].items], ["piqa", 1, 2]);
  assert.is(lines[2].results.piqa.alias, "piqa");
  const made = await penjing(["generate", MODEL, "Once", "--max-new-tokens", "3", "--json=lines"]);
  const tokens = made.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.equal(
    tokens.map(({ type }) => type),
    ["token", "token", "token", "result"],
  );
  assert.is(tokens[3].ids.length, 3);
  // Behind -- it is a prompt.
  const prompt = await penjing(["generate", MODEL, "--max-new-tokens", "1", "--", "--json=lines"]);
  assert.match(prompt.stdout, /^--json=lines/);
});

test.run();
