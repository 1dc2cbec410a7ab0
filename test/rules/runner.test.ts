import { suite } from "uvu";
import * as assert from "uvu/assert";
import { execute, judgeTestFile } from "../outcome.js";

const test = suite("runner");

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

test.run();
