// The command with --spill: killed anywhere it goes on, and a disk that is full is said.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { skipUnless } from "../shared.js";
import { CALIBRATION, MODEL, PROGRAM, penjing, scratch, smallDisk } from "./program.js";

const test = suite("cli spill");
const folder = scratch(test);
const WINDOWS = ["--samples", "64", "--length", "128", "--method", "wanda", "--threads", "1"];
const argsFor = (out: string, ...more: string[]) => [
  ...["compress", MODEL, "--calibration", CALIBRATION, "--out", out, "--backend", "wasm"],
  ...[...WINDOWS, ...more],
];
const weights = (out: string) => readFileSync(join(out, "model.safetensors"));

skipUnless(
  test,
  process.platform !== "win32",
  "Windows has no signals",
  "killed while its activations lie there, the same command ends with the same bytes",
  async () => {
    const [plain, out] = [join(folder, "plain"), join(folder, "out")];
    assert.is((await penjing(argsFor(plain))).code, 0);
    const kept = () => (existsSync(`${out}.partial`) ? readdirSync(`${out}.partial`) : []);
    for (const isTime of [
      () => kept().some((name) => name.startsWith("scratch.")),
      () => kept().some((name) => /layers\.1\..*unit\.kept$/.test(name)),
    ]) {
      const child = spawn(process.execPath, [PROGRAM, ...argsFor(out, "--spill")]);
      const timer = setInterval(() => isTime() && child.kill("SIGKILL"), 1);
      const signal = await new Promise((resolve) => child.on("close", (_, by) => resolve(by)));
      clearInterval(timer);
      assert.is(signal, "SIGKILL");
      assert.ok(kept().some((name) => name.startsWith("scratch.")));
    }
    const { code, stderr } = await penjing(argsFor(out, "--spill"));
    assert.is(code, 0, stderr);
    assert.is(Buffer.compare(weights(out), weights(plain)), 0);
    assert.equal(readdirSync(folder).sort(), ["out", "plain"]);
    for (const one of [plain, out]) rmSync(one, { recursive: true });
  },
);

const disk = smallDisk(test);

skipUnless(
  test,
  disk !== undefined,
  "only root may mount a small disk",
  "a disk that is too small for the activations ends it in one sentence",
  async () => {
    try {
      const work = join(disk!, "work");
      const out = join(folder, "out");
      const { code, stderr } = await penjing(argsFor(out, "--spill", "--work", work));
      assert.is(code, 1);
      assert.match(
        stderr,
        /^penjing: \[.*work.*\] keeping unfinished work failed \(ENOSPC\): the disk/m,
      );
      assert.not.match(stderr, /^ +at /m);
      assert.is(existsSync(out), false);
    } finally {
      spawnSync("umount", [disk!]);
    }
  },
);

test.run();
