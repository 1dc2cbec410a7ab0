// Runs that are killed anywhere: the same command goes on, and what comes out is the same.
import { type ChildProcess, spawn } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { note, repositoryRoot, skipUnless } from "../shared.js";
import { compressArgs, MODEL, PROGRAM, penjing, scratch } from "./program.js";

const test = suite("killed runs");
const folder = scratch(test);
const OUT = join(folder, "out");
const PARTIAL = `${OUT}.partial`;
const ARGS = compressArgs(OUT, "--threads", "1", "--backend", "wasm");

/** The weights of a run that nobody stopped. */
let expected: Buffer;
/** And what was written about it. */
let side: string;

const weights = () => readFileSync(join(OUT, "model.safetensors"));

test.before(async () => {
  const { code, stderr } = await penjing(ARGS);
  assert.is(code, 0, stderr);
  expected = weights();
  side = readFileSync(join(OUT, "penjing.json"), "utf8");
  rmSync(OUT, { recursive: true });
});

/** Starts the program and kills it as soon as `isTime` says so; whether it still ran. */
function killed(args: readonly string[], isTime: () => boolean): Promise<boolean> {
  return new Promise((resolve) => {
    const child: ChildProcess = spawn(process.execPath, [PROGRAM, ...args], {
      cwd: repositoryRoot,
      stdio: "ignore",
    });
    const timer = setInterval(() => isTime() && child.kill("SIGKILL"), 1);
    child.on("close", (_, signal) => {
      clearInterval(timer);
      resolve(signal === "SIGKILL");
    });
  });
}

const kept = (): string[] => (existsSync(PARTIAL) ? readdirSync(PARTIAL) : []);

/** Moments of a run, by what lies there. */
const MOMENTS: Readonly<Record<string, () => boolean>> = {
  "at the lock": () => kept().includes("lock"),
  "at the first layer": () => kept().some((name) => /layers\.0\..*proj/.test(name)),
  "after a block": () => kept().some((name) => /layers\.2\..*proj/.test(name)),
  "at the last unit": () => kept().some((name) => /layers\.3\.unit\.kept$/.test(name)),
  "when the weights are joined": () => existsSync(join(PARTIAL, "files", "model.safetensors")),
  "at the side file": () => existsSync(join(PARTIAL, "files", "penjing.json")),
  "after the commit": () => existsSync(OUT),
};

for (const [when, isTime] of Object.entries(MOMENTS)) {
  skipUnless(
    test,
    process.platform !== "win32",
    "Windows has no signals",
    `killed ${when}, the same command ends well`,
    async () => {
      const wasKilled = await killed(ARGS, isTime);
      const hadOutput = existsSync(OUT);
      const left = kept();
      // A run that was faster than the watcher is no fault.
      if (!wasKilled) rmSync(OUT, { recursive: true });
      const { code, stderr } = await penjing(ARGS);
      if (wasKilled && hadOutput && left.length === 0) {
        note("the run was killed after its last act");
        assert.is(code, 1);
      } else {
        assert.is(code, 0, stderr);
      }
      assert.is(Buffer.compare(weights(), expected), 0, "the same bytes");
      assert.equal(readdirSync(folder), ["out"], stderr);
      if (wasKilled && hadOutput && left.length > 0) {
        assert.match(stderr, /it was written by an earlier run of the same command/);
      }
      if (wasKilled && left.some((name) => /layers\.2\..*proj/.test(name)) && !hadOutput) {
        assert.match(stderr, /layers\.1: it was finished by an earlier run/);
      }
      rmSync(OUT, { recursive: true });
    },
  );
}

test("killed again and again, it still ends with the same bytes", async () => {
  let kills = 0;
  for (let delay = 200; delay < 1400; delay += 300) {
    const start = performance.now();
    if (await killed(ARGS, () => performance.now() - start > delay)) kills++;
    // One that was done before its time had come.
    else rmSync(OUT, { recursive: true });
    if (existsSync(OUT)) break;
  }
  const { code, stderr } = await penjing(ARGS);
  assert.is(code, 0, stderr);
  note(`killed ${kills} times`);
  assert.is(Buffer.compare(weights(), expected), 0);
  assert.equal(readdirSync(folder), ["out"]);
  rmSync(OUT, { recursive: true });
});

/** Stops a run when its first block is finished. */
async function interrupted(...more: string[]): Promise<void> {
  const done = await penjing([...ARGS, ...more], {
    when: /block [23] of/,
    act: (child) => child.kill("SIGINT"),
  });
  assert.is(done.code, 130, done.stderr);
  assert.match(done.stderr, /what is done so far is kept in .*; .*the same command .*goes on\n$/);
}

test("another command does not go on with the work, unless --force begins anew", async () => {
  await interrupted();
  const other = [...ARGS, "--seed", "3"];
  const refused = await penjing(other);
  assert.is(refused.code, 1);
  assert.match(
    refused.stderr,
    /^penjing: \[.*out\.partial\] it holds the unfinished work of another recipe; .*--force to begin anew\.$/m,
  );
  assert.not.match(refused.stderr, /goes on\n/);
  const exported = await penjing(["export", MODEL, "--out", OUT]);
  assert.match(exported.stderr, /it holds unfinished work on this output; finish it .*--force/);
  assert.ok(existsSync(PARTIAL));
  const forced = await penjing([...other, "--force"]);
  assert.is(forced.code, 0, forced.stderr);
  assert.match(forced.stderr, /note: work: unfinished work .* was removed, as --force asks/);
  assert.equal(readdirSync(folder), ["out"]);
  rmSync(OUT, { recursive: true });
});

test("two processes do not work on one output at once", async () => {
  const first = penjing([...ARGS, "--samples", "128", "--length", "128"], {
    when: /compress \d+%/,
    act: async (child) => {
      second = await penjing(ARGS);
      child.kill("SIGINT");
    },
  });
  let second = { code: 0, stdout: "", stderr: "" };
  const { code } = await first;
  assert.is(code, 130);
  assert.is(second.code, 1);
  assert.match(
    second.stderr,
    /^penjing: \[.*out\.partial\] process \d+ on .* is at work there; wait until it has ended.*\n$/,
  );
  rmSync(PARTIAL, { recursive: true, force: true });
});

test("killed between the two renames, the output before is put back", async () => {
  mkdirSync(join(PARTIAL, "replaced"), { recursive: true });
  writeFileSync(join(PARTIAL, ".penjing-work"), "");
  writeFileSync(join(PARTIAL, "replaced", "mine.txt"), "mine");
  const refused = await penjing(ARGS);
  assert.match(refused.stderr, /exists and is not empty; .*--force/);
  assert.equal(readdirSync(folder), ["out"]);
  assert.equal(readdirSync(OUT), ["mine.txt"]);
  rmSync(OUT, { recursive: true });
});

test("a work folder that outlived the commit is removed by the same command", async () => {
  const work = join(folder, "work");
  await interrupted("--work", work);
  const copy = join(folder, "copy");
  cpSync(work, copy, { recursive: true });
  const args = [...ARGS, "--work", work];
  assert.is((await penjing(args)).code, 0);
  assert.equal(readdirSync(folder).sort(), ["copy", "out"]);
  renameSync(copy, work);
  const again = await penjing(args);
  assert.is(again.code, 0, again.stderr);
  assert.match(again.stderr, /written by an earlier run of the same command/);
  assert.equal(readdirSync(folder), ["out"]);
  assert.is(readFileSync(join(OUT, "penjing.json"), "utf8"), side);
  rmSync(OUT, { recursive: true });
});

test("what versions before this one left is named", async () => {
  const left = join(folder, "out.partial-123-abc123");
  mkdirSync(left);
  const { code, stderr } = await penjing(ARGS);
  assert.is(code, 0, stderr);
  assert.match(
    stderr,
    /out\.partial-123-abc123 was left by an earlier run that did not end; remove/,
  );
  rmSync(left, { recursive: true });
  rmSync(OUT, { recursive: true });
});

test("an export that was killed leaves what the next one removes", async () => {
  const args = ["export", MODEL, "--out", OUT];
  const files = () => existsSync(join(PARTIAL, "files"));
  if (await killed(args, files)) assert.ok(existsSync(PARTIAL));
  else rmSync(OUT, { recursive: true });
  const { code, stderr } = await penjing(args);
  assert.is(code, existsSync(OUT) ? code : 0, stderr);
  assert.equal(readdirSync(folder), ["out"]);
  rmSync(OUT, { recursive: true });
});

test.run();
