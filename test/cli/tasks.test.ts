import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { taskFiles } from "../tasks/rows.js";
import { EVALUATION, fails, MODEL, penjing, scratch } from "./program.js";

const test = suite("cli tasks");
const folder = scratch(test);
for (const [name, bytes] of Object.entries(taskFiles())) {
  mkdirSync(dirname(join(folder, name)), { recursive: true });
  writeFileSync(join(folder, name), bytes);
}
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

test("a text and tasks exclude one another, with what belongs to them", async () => {
  await fails(["eval", MODEL], /there is nothing to score; give either --text or --tasks/, folder);
  await fails(
    [...ARGS, "piqa", "--text", EVALUATION],
    /a text and tasks are given; give either/,
    folder,
  );
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
});

test.run();
