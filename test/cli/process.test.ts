import { spawnSync } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { skipUnless } from "../shared.js";
import {
  CALIBRATION,
  compressArgs,
  EVALUATION,
  MODEL,
  PROGRAM,
  penjing,
  scratch,
  smallDisk,
} from "./program.js";

const test = suite("cli as a process");
const folder = scratch(test);
/** A compression that is still at work long after its second block began. */
const SLOW = ["--samples", "64", "--length", "128"];

function quoted(args: readonly string[]): string {
  return [process.execPath, PROGRAM, ...args].map((arg) => `'${arg}'`).join(" ");
}

for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
] as const) {
  skipUnless(
    test,
    process.platform !== "win32",
    "Windows has no signals",
    `after ${signal} during compress the same command goes on`,
    async () => {
      const out = join(folder, "stopped");
      const args = compressArgs(out, ...SLOW);
      const ended = await penjing(args, {
        when: /block [23] of/,
        act: (child) => child.kill(signal),
      });
      assert.is(ended.code, code, ended.stderr);
      assert.equal(readdirSync(folder), ["stopped.partial"]);
      assert.match(
        ended.stderr,
        /\npenjing: stopped; what is done so far is kept in .*stopped\.partial; the same command goes on\n$/,
      );
      assert.is(ended.stderr.match(/penjing|stopp|kept/g)?.length, 5, "one sentence");
      assert.not.match(ended.stderr, /^ +at /m);
      assert.is(ended.stdout, "");
      const again = await penjing(args);
      assert.is(again.code, 0, again.stderr);
      assert.match(again.stderr, /^note: model\.layers\.0: it was finished by an earlier run/m);
      assert.equal(readdirSync(folder), ["stopped"]);
      rmSync(out, { recursive: true });
    },
  );
}

skipUnless(
  test,
  process.platform !== "win32",
  "Windows has no signals",
  "with --work, the same command goes on after SIGINT",
  async () => {
    const work = join(folder, "work");
    const args = compressArgs(join(folder, "resumed"), ...SLOW, "--work", work);
    const ended = await penjing(args, {
      when: /block [23] of/,
      act: (child) => child.kill("SIGINT"),
    });
    assert.is(ended.code, 130, ended.stderr);
    assert.match(ended.stderr, /done so far is kept in .*work; the same command goes on/);
    assert.equal(readdirSync(folder), ["work"]);
    const again = await penjing(args);
    assert.is(again.code, 0, again.stderr);
    assert.match(again.stderr, /^note: model\.layers\.0: it was finished by an earlier run/m);
    assert.equal(readdirSync(folder), ["resumed"]);
    rmSync(join(folder, "resumed"), { recursive: true });
  },
);

skipUnless(
  test,
  process.platform !== "win32",
  "Windows has no signals",
  "SIGINT during eval and generate",
  async () => {
    const stop = { act: (child: { kill(signal: "SIGINT"): void }) => child.kill("SIGINT") };
    const scored = await penjing(["eval", MODEL, "--text", EVALUATION, "--window", "8"], stop);
    assert.is(scored.code, 130, scored.stderr);
    const told = await penjing(["generate", MODEL, "Tom", "--ignore-eos"], stop);
    assert.is(told.code, 130, told.stderr);
  },
);

test("progress on a pipe is plain lines, not many of them", async () => {
  const { stderr } = await penjing(compressArgs(join(folder, "plain"), "--samples", "32"));
  const lines = stderr.trimEnd().split("\n");
  assert.ok(lines.length >= 5 && lines.length <= 13, stderr);
  const note = lines.splice(-2, 1);
  assert.match(note[0], /^note: out: .*; --layout two-four takes 1149184 bytes$/);
  assert.is(lines.pop(), "compress 100%: writing");
  for (const line of lines) {
    assert.match(
      line,
      /^compress \d+%: (block \d of 4, (calibrate|prune|measure|advance)|writing)$/,
    );
  }
});

const hasScript = spawnSync("script", ["-qec", "true", "/dev/null"]).status === 0;

skipUnless(
  test,
  hasScript,
  "the program script is not there",
  "progress on a terminal is a bar that goes away",
  () => {
    const args = compressArgs(join(folder, "bar"), "--samples", "16");
    const { stdout, status } = spawnSync("script", ["-qec", quoted(args), "/dev/null"], {
      encoding: "utf8",
    });
    assert.is(status, 0);
    assert.match(stdout, /compress \[#*-*\] \d+% \| block \d of 4, \w+ \| .* left/);
    const visible = stdout.slice(stdout.lastIndexOf("left"));
    assert.match(visible, /layers +28 pruned/);
    assert.ok(stdout.includes("\u001b[?25h"), "the cursor is shown again");
  },
);

skipUnless(
  test,
  process.platform !== "win32",
  "needs a POSIX shell",
  "a reader that goes away ends the printing quietly",
  () => {
    const shell = (line: string) => spawnSync("bash", ["-c", line], { encoding: "utf8" });
    const listed = shell(`${quoted(["inspect", MODEL])} | head -n 1; echo \${PIPESTATUS[0]}`);
    assert.match(listed.stdout, /^tensor .*\n0\n$/);
    assert.is(listed.stderr, "");
    // The work goes on when nobody follows its progress.
    const out = join(folder, "unfollowed");
    const followed = `${quoted(compressArgs(out, "--samples", "64"))} 2>&1 >/dev/null | head -n 1`;
    assert.match(shell(followed).stdout, /^compress 0%/);
    assert.ok(readdirSync(out).includes("model.safetensors"));
  },
);

test("a path with spaces and letters of other scripts", async () => {
  const out = join(folder, "a b", "盆景 é");
  const { code, stderr } = await penjing(compressArgs(out, "--calibration", CALIBRATION));
  assert.is(code, 0, stderr);
  assert.ok(readdirSync(out).includes("penjing.json"));
});

const disk = smallDisk(test);
skipUnless(
  test,
  disk !== undefined,
  "mounting a small disk needs root",
  "a full disk is one sentence, and what is done is kept",
  async () => {
    try {
      const { code, stderr } = await penjing(compressArgs(join(disk!, "out"), "--quiet"));
      assert.is(code, 1);
      const [first, second] = stderr.split("\n");
      assert.match(
        first,
        /^what is done so far is kept in .*out\.partial; the same command goes on$/,
      );
      assert.match(second, /^penjing: \[.*\] .* \(ENOSPC\): the disk is full; .*$/);
      assert.equal(readdirSync(disk!), ["out.partial"]);
    } finally {
      spawnSync("umount", [disk!]);
    }
  },
);

test.run();
