// Models compressed into GGUF files by the command line: what lies on the disk, whenever it ends.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { repositoryRoot, skipUnless } from "../shared.js";
import {
  compressArgs,
  EVALUATION,
  fails,
  MODEL,
  PROGRAM,
  penjing,
  scratch,
  smallDisk,
} from "./program.js";

const test = suite("cli compress to gguf");
const folder = scratch(test);
const OUT = join(folder, "model.gguf");
const PARTIAL = `${OUT}.partial`;
const GPTQ = ["--method", "gptq", "--layout", "gguf", "--threads", "1", "--backend", "wasm"];
const ARGS = compressArgs(OUT, ...GPTQ);

/** The file of a run that nobody stopped. */
let expected: Buffer;

test.before(async () => {
  const { code, stdout, stderr } = await penjing([...ARGS, "--eval", EVALUATION]);
  assert.is(code, 0, stderr);
  assert.match(stdout, /^layers +28 quantized, to 4\.50 bits a weight$/m);
  assert.match(stdout, /^bytes +1\.84 MB -> 586 KB \(quantized layers: 1\.57 MB -> 442 KB\)$/m);
  assert.match(stdout, /^beside it +KL 0\.0\d+ nats a token/m);
  assert.match(
    stdout,
    /^bits +4\.50 a compressed weight of the blocks, 5\.\d\d a weight of the whole model$/m,
  );
  assert.equal(readdirSync(folder), ["model.gguf"]);
  expected = readFileSync(OUT);
  rmSync(OUT);
});

const kept = (): string[] => (existsSync(PARTIAL) ? readdirSync(PARTIAL) : []);

/** Moments of a run, by what lies there. */
const MOMENTS: Readonly<Record<string, () => boolean>> = {
  "after a block": () => kept().some((name) => /layers\.2\..*proj/.test(name)),
  "while the file is written": () => existsSync(join(PARTIAL, "files", "model.gguf")),
  "after the commit": () => existsSync(OUT),
};

/** Starts the program and kills it as soon as `isTime` says so; whether it still ran. */
function killed(isTime: () => boolean): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [PROGRAM, ...ARGS], {
      ...{ cwd: repositoryRoot, stdio: "ignore" },
    });
    const timer = setInterval(() => isTime() && child.kill("SIGKILL"), 1);
    child.on("close", (_, signal) => {
      clearInterval(timer);
      resolve(signal === "SIGKILL");
    });
  });
}

for (const [when, isTime] of Object.entries(MOMENTS)) {
  skipUnless(
    test,
    process.platform !== "win32",
    "Windows has no signals",
    `killed ${when}, the same command ends well`,
    async () => {
      const wasKilled = await killed(isTime);
      const hadOutput = existsSync(OUT);
      if (hadOutput) assert.is(Buffer.compare(readFileSync(OUT), expected), 0, "it is whole");
      const left = kept();
      // A run that was faster than the watcher is no fault.
      if (!wasKilled) rmSync(OUT);
      const { code, stderr } = await penjing(ARGS);
      assert.is(code, wasKilled && hadOutput && left.length === 0 ? 1 : 0, stderr);
      assert.is(Buffer.compare(readFileSync(OUT), expected), 0, "the same bytes");
      assert.equal(readdirSync(folder), ["model.gguf"], stderr);
      if (wasKilled && !hadOutput) assert.match(stderr, /it was finished by an earlier run/);
      rmSync(OUT);
    },
  );
}

test("a run that had given its file the name is not done again, whole or in parts", async () => {
  for (const more of [[], ["--shard-size", "200000"]]) {
    const args = [...ARGS, ...more];
    const stopped = await penjing(args, {
      when: /block [34] of/,
      act: (child) => child.kill("SIGINT"),
    });
    assert.is(stopped.code, 130, stopped.stderr);
    assert.match(stopped.stderr, /what is done so far is kept in .*model\.gguf\.partial; the same/);
    const copy = join(folder, "copy");
    assert.is(spawnSync("cp", ["-r", PARTIAL, copy]).status, 0);
    assert.is((await penjing(args)).code, 0);
    const names = readdirSync(folder).filter((name) => name !== "copy");
    assert.is(spawnSync("mv", [copy, PARTIAL]).status, 0);
    const other = await penjing([...args, "--gguf-embedding", "F16"]);
    assert.is(other.code, 1);
    const again = await penjing([...args, "--json"]);
    assert.is(again.code, 0, again.stderr);
    assert.match(again.stderr, /written by an earlier run of the same command/);
    assert.equal(JSON.parse(again.stdout).files, names);
    assert.equal(readdirSync(folder), names);
    for (const name of names) rmSync(join(folder, name));
  }
});

test("--no-gguf-record leaves out what made the file, and nothing else", async () => {
  const [whole, bare] = ["whole.gguf", "bare.gguf"].map((name) => join(folder, name));
  const args = (out: string) => ARGS.map((one) => (one === OUT ? out : one));
  for (const one of [args(whole), [...args(bare), "--no-gguf-record"]]) {
    const { code, stderr } = await penjing(one);
    assert.is(code, 0, stderr);
  }
  const [more, less] = [whole, bare].map((path) => readFileSync(path));
  assert.ok(more.includes("penjing.json"));
  assert.not(less.includes("penjing.json"));
  const end = -(2 ** 16);
  assert.ok(more.subarray(end).equals(less.subarray(end)));
  const dense = compressArgs(join(folder, "plain"), "--no-gguf-record");
  await fails(dense, /\[--no-gguf-record\] .*give --layout "gguf" too/, folder);
  for (const path of [whole, bare]) rmSync(path);
});

test("another command does not go on with the work, unless --force begins anew", async () => {
  const when = {
    when: /block 3 of/,
    act: (child: { kill(signal: "SIGINT"): void }) => child.kill("SIGINT"),
  };
  assert.is((await penjing(ARGS, when)).code, 130);
  await fails([...ARGS, "--bits", "5"], /holds the unfinished work of another recipe/, folder);
  await fails([...ARGS, "--gguf-embedding", "F16"], /another choice of GGUF types/, folder);
  const exported = ["export", MODEL, "--layout", "gguf", "--out", OUT];
  await fails(exported, /it holds unfinished work on this output; .*--force/, folder);
  assert.ok(existsSync(PARTIAL));
  const { code, stderr } = await penjing([...ARGS, "--force"]);
  assert.is(code, 0, stderr);
  assert.match(stderr, /unfinished work .* was removed, as --force asks/);
  assert.equal(readdirSync(folder), ["model.gguf"]);
  await fails(ARGS, /a file of this name exists; .*--force to replace it/, folder);
  writeFileSync(OUT, "mine");
  assert.is((await penjing([...ARGS, "--force"])).code, 0);
  assert.is(Buffer.compare(readFileSync(OUT), expected), 0);
  rmSync(OUT);
});

test("outputs that cannot be are refused", async () => {
  mkdirSync(OUT);
  await fails([...ARGS, "--force"], /it is a folder, and the output is a file/, folder);
  rmSync(OUT, { recursive: true });
  const inside = compressArgs(join(MODEL, "model.gguf"), ...GPTQ);
  await fails(inside, /it lies inside the input folder/, folder);
  const plain = compressArgs(join(folder, "plain"), ...GPTQ);
  await fails(plain, /the layout gguf makes a file, .*plain\.gguf"/, folder);
  const dense = compressArgs(join(folder, "plain"), "--gguf-type", "Q4_0");
  await fails(dense, /\[--gguf-type\] .*the layout is dense; give --layout "gguf" too/, folder);
  await fails(
    [...ARGS, "--bits", "3"],
    /no GGUF type has codes of 3 bits; .*--gguf-type Q4_0/,
    folder,
  );
});

const disk = smallDisk(test);
skipUnless(
  test,
  disk !== undefined,
  "mounting a small disk needs root",
  "a full disk is one sentence, and what is done is kept",
  async () => {
    try {
      const out = join(disk!, "m.gguf");
      const { code, stderr } = await penjing(compressArgs(out, ...GPTQ, "--quiet"));
      assert.is(code, 1);
      assert.match(stderr, /ENOSPC.*the disk is full/);
      assert.match(stderr, /what is done so far is kept in .*m\.gguf\.partial/);
      assert.equal(readdirSync(disk!), ["m.gguf.partial"]);
    } finally {
      spawnSync("umount", [disk!]);
    }
  },
);

test.run();
