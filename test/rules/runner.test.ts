import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { scratch } from "../cli/program.js";
import { execute, judgeTestFile } from "../outcome.js";
import { ASKED_VARIABLE } from "../shared.js";

const test = suite("runner");
const folder = scratch(test);

/** Runs a small test file's text as the runner runs a real one. */
async function outcomeOf(text: string, limitSeconds = 60) {
  const start = 'import { suite } from "uvu"; const test = suite("small");';
  return judgeTestFile(
    await execute(["--input-type=module", "-e", `${start}\n${text}`], limitSeconds),
  );
}

test("counts what passed", async () => {
  const outcome = await outcomeOf('test("a", () => {}); test("b", () => {}); test.run();');
  assert.equal(outcome, { passed: 2, failed: 0, skipped: 0, complaint: undefined });
});

test("counts what failed", async () => {
  const text = 'test("a", () => {}); test("b", () => { throw new Error("no"); }); test.run();';
  assert.equal(await outcomeOf(text), { passed: 1, failed: 1, skipped: 0 });
});

test("fails a file that never calls run", async () => {
  const outcome = await outcomeOf('test("a", () => {});');
  assert.is(outcome.failed, 1);
  assert.match(outcome.complaint ?? "", "without uvu's totals");
});

test("fails a file without a test", async () => {
  const outcome = await outcomeOf("test.run();");
  assert.is(outcome.failed, 1);
  assert.match(outcome.complaint ?? "", "executes no test");
});

test("fails a file that ends in the middle of a test", async () => {
  const outcome = await outcomeOf('test("a", () => new Promise(() => {})); test.run();');
  assert.is(outcome.failed, 1);
});

test("fails a file that exits with another code after its totals", async () => {
  const text =
    'process.on("exit", () => { process.exitCode = 3; }); test("a", () => {}); test.run();';
  const outcome = await outcomeOf(text);
  assert.is(outcome.failed, 1);
  assert.match(outcome.complaint ?? "", "it ended with 3");
});

test("fails a file that skips without a name, or by test.only", async () => {
  for (const text of [
    'test.skip("a", () => {}); test("b", () => {}); test.run();',
    'test.only("a", () => {}); test("b", () => {}); test.run();',
  ]) {
    const outcome = await outcomeOf(text);
    assert.is(outcome.failed, 1);
    assert.match(outcome.complaint ?? "", "use skipUnless");
  }
});

test("counts a skip that is named", async () => {
  const text = 'test.skip("a"); console.log("SKIP small: a (no disk)"); test.run();';
  assert.equal(await outcomeOf(text), { passed: 0, failed: 0, skipped: 1, complaint: undefined });
});

test("kills a file at the time limit", async () => {
  const outcome = await outcomeOf("setInterval(() => {}, 1000);", 1);
  assert.is(outcome.failed, 1);
  assert.match(outcome.complaint ?? "", "time limit of 1 s");
});

test("a process that asks for ../shared is noted, another is not", async () => {
  const shared = JSON.stringify(new URL("../shared.js", import.meta.url).href);
  const run = async (code: string, name: string) => {
    const asked = join(folder, name);
    const text = `const shared = await import(${shared}); ${code}`;
    const args = ["--input-type=module", "-e", text];
    assert.is((await execute(args, 60, { [ASKED_VARIABLE]: asked })).ended, 0);
    return existsSync(asked);
  };
  assert.is(await run("shared.hasShared();", "one"), true);
  assert.is(await run('shared.sharedPath("models");', "two"), true);
  assert.is(await run("shared.repositoryRoot;", "three"), false);
});

test("--list runs the files of just these names, and fails for a name that is none's", async () => {
  const list = join(folder, "list.txt");
  const run = (text: string) => {
    writeFileSync(list, text);
    const runner = fileURLToPath(new URL("../run.js", import.meta.url));
    return execute([runner, "--list", list], 120, { PENJING_NO_APT: "1" });
  };
  const known = await run("rules/package\n");
  assert.is(known.ended, 0, known.output);
  assert.match(known.output, /^ok rules\/package \(/m);
  assert.not.match(known.output, /^ok (?!rules\/package )/m);
  const unknown = await run("rules/package\nrules/pack\n");
  assert.is(unknown.ended, 1);
  assert.match(unknown.output, /rules\/pack\b.*\n[\s\S]*\n\d+ passed, 1 failed, \d+ skipped\n$/);
});

test.run();
