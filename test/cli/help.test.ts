import { spawnSync } from "node:child_process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { methods } from "../../src/methods/index.js";
import { quantizers } from "../../src/quantizers/index.js";
import { skipUnless } from "../shared.js";
import { EVALUATION, MODEL, PROGRAM, penjing } from "./program.js";

const ALL = { ...methods, ...quantizers };
const test = suite("cli help");

/** The options of a help, each with its whole text. */
function optionsOf(help: string): string[] {
  const [, part] = /^Options:\n((?: {2}.*\n)+)/m.exec(help) ?? [];
  return part
    .replace(/\n {6,}/g, " ")
    .trimEnd()
    .split("\n");
}

test("each option of each command says its default, or that it is required", async () => {
  const { stdout } = await penjing(["--help"]);
  const commands = [...stdout.matchAll(/^ {2}([a-z]+) .*(?:<|\[)/gm)].map(([, name]) => name);
  assert.ok(commands.includes("methods") && commands.length >= 6, `${commands}`);
  for (const command of commands.filter((name) => name !== "help")) {
    const options = optionsOf((await penjing([command, "--help"])).stdout);
    assert.ok(options.length >= 4, command);
    for (const option of options) {
      assert.match(option, /default: |\(required\)|^ {2}-h, --help/, `${command}: ${option}`);
    }
  }
});

test("methods lists every method, what it reads, and its options", async () => {
  const { stdout, code } = await penjing(["methods"]);
  assert.is(code, 0);
  for (const { name, summary } of Object.values(ALL)) {
    assert.ok(stdout.includes(`${name}: ${summary}\n`), name);
  }
  assert.match(stdout, /^magnitude: .*\n {2}reads +nothing: it needs no calibration text$/m);
  assert.match(stdout, /^ {2}--damping: .*; a number from 0 to 100 \(default: 0\.01\)$/m);
  const listed = JSON.parse((await penjing(["methods", "--json"])).stdout);
  assert.equal(
    listed.map(({ name }: { name: string }) => name),
    Object.keys(ALL),
  );
  const armor = listed.find(({ name }: { name: string }) => name === "armor");
  assert.equal(armor.reads, ["columnSquares", "hessian"]);
  assert.is(armor.factorises, true);
});

skipUnless(
  test,
  process.platform === "linux",
  "/dev/full is of Linux",
  "what cannot be printed is an error of one sentence",
  () => {
    for (const args of [
      ["inspect", MODEL],
      ["--help"],
      ["eval", MODEL, "--text", EVALUATION, "--window", "128", "--json", "--quiet"],
    ]) {
      const line = [process.execPath, PROGRAM, ...args].map((arg) => `'${arg}'`).join(" ");
      const { status, stderr } = spawnSync("bash", ["-c", `${line} > /dev/full`], {
        encoding: "utf8",
      });
      assert.is(status, 1, stderr);
      assert.match(stderr, /^penjing: \[standard output\] writing failed \(ENOSPC\): .*\.\n$/);
    }
  },
);

test.run();
