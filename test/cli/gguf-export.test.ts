// Models written as GGUF files by the command line: what lies on the disk, and what does not.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openDiskFiles } from "../../src/platform/disk-files.js";
import { refused } from "../checkpoint/crafted.js";
import { repositoryRoot, skipUnless } from "../shared.js";
import { EVALUATION, fails, MODEL, penjing, scratch, smallDisk } from "./program.js";

const test = suite("cli export to gguf");
const folder = scratch(test);
const at = (name: string) => join(folder, name);

async function exported(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await penjing(["export", MODEL, "--layout", "gguf", ...args]);
  assert.is(code, 0, stderr);
  return stdout;
}

test("a file is written, read, and nothing else is left", async () => {
  const out = at("q8.gguf");
  const lines = (await exported("--gguf-type", "Q8_0", "--out", out)).trimEnd().split("\n");
  assert.equal(lines.slice(0, 3), [
    "layout       dense -> gguf",
    "quantized    29 weights",
    "bytes        1.84 MB -> 979 KB",
  ]);
  assert.match(lines[3], new RegExp(`^written to +${out} in (under 1|\\d+) s$`));
  assert.equal(readdirSync(folder), ["q8.gguf"]);
  const { stdout } = await penjing(["eval", out, "--text", EVALUATION, "--json"]);
  const { perplexity } = JSON.parse(stdout);
  assert.ok(Math.abs(perplexity / 23.767 - 1) < 0.002, `${perplexity}`);
});

test("several files, and what replaces them", async () => {
  const out = at("parts.gguf");
  const text = await exported("--shard-size", "500000", "--out", out);
  assert.match(text, /^files +parts-00001-of-00004\.gguf and 3 more$/m);
  const names = readdirSync(folder).filter((name) => name.startsWith("parts"));
  assert.is(names.length, 4);
  assert.not(existsSync(out));
  await exported("--shard-size", "500000", "--force", "--out", out);
  const args = ["export", MODEL, "--layout", "gguf", "--shard-size", "500000", "--out", out];
  await fails(args, /parts-00001-of-00004\.gguf\] a file of this name exists; .*--force/, folder);
  const json = await exported("--shard-size", "500000", "--force", "--json", "--out", out);
  assert.equal(JSON.parse(json).files, names);
});

test("outputs that cannot be are refused, and what lies there stays", async () => {
  mkdirSync(at("folder.gguf"));
  writeFileSync(at("there.gguf"), "mine");
  const refuse = (message: RegExp, ...args: readonly string[]) =>
    fails(["export", MODEL, "--layout", "gguf", ...args], message, folder);
  await refuse(
    /folder\.gguf\] it is a folder, and the output is a file/,
    "--out",
    at("folder.gguf"),
  );
  await refuse(/there\.gguf\] a file of this name exists/, "--out", at("there.gguf"));
  assert.is(readFileSync(at("there.gguf"), "utf8"), "mine");
  await refuse(
    /plain\] the layout gguf makes a file, whose name ends in \.gguf; .*plain\.gguf"/,
    ...["--out", at("plain")],
  );
  await refuse(/"Q3_K_M" is not a type of GGUF/, "--gguf-type", "Q3_K_M", "--out", at("k.gguf"));
  await refuse(/it lies inside the input folder/, "--out", join(MODEL, "model.gguf"));
  await fails(
    ["export", MODEL, "--gguf-type", "F16", "--out", at("plain")],
    /\[--gguf-type\] it is about GGUF files, but the layout is the model's own; give --layout "gguf" too/,
    folder,
  );
  const opt = join(repositoryRoot, "test", "models", "tiny", "opt");
  await fails(
    ["export", opt, "--layout", "gguf", "--out", at("opt.gguf")],
    /a model of the family opt, for which there is no GGUF architecture/,
    folder,
  );
  assert.is((await exported("--force", "--out", at("there.gguf"))).includes("written to"), true);
  assert.ok(readFileSync(at("there.gguf")).length > 1e6);
});

test("no file has its name before all are complete, and an error leaves none", async () => {
  const output = await openDiskFiles(at("late.gguf"));
  const [first, second] = [await output.create("late-1.gguf"), await output.create("late-2.gguf")];
  await first.write(0, Uint8Array.of(1));
  await first.finish();
  assert.not(existsSync(at("late-1.gguf")));
  await refused(() => openDiskFiles(at("late.gguf")), /another process|at work|in use/);
  await refused(() => output.commit(), /1 files are not finished/);
  await second.finish();
  await output.commit();
  assert.equal([...readFileSync(at("late-1.gguf"))], [1]);
  assert.ok(existsSync(at("late-2.gguf")) && !existsSync(at("late.gguf.partial")));
  const other = await openDiskFiles(at("never.gguf"));
  await (await other.create("never.gguf")).write(0, Uint8Array.of(1));
  await other.discard();
  assert.not(existsSync(at("never.gguf")) || existsSync(at("never.gguf.partial")));
});

const disk = smallDisk(test);
skipUnless(
  test,
  disk !== undefined,
  "mounting a small disk needs root",
  "a full disk is one sentence, and nothing is left",
  async () => {
    try {
      const args = ["--layout", "gguf", "--quiet", "--out", join(disk!, "m.gguf")];
      await fails(
        ["export", MODEL, ...args],
        /ENOSPC.*the disk is full; .*nothing was written/,
        disk!,
      );
    } finally {
      spawnSync("umount", [disk!]);
    }
  },
);

test.run();
