// The command line with models on a fake hub.
import { spawnSync } from "node:child_process";
import { existsSync, lstatSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CALIBRATION, EVALUATION, fails, penjing, QUICK, scratch } from "../cli/program.js";
import { skipUnless } from "../shared.js";
import { COMMIT, type FakeHub, LOST, OTHER, TOKEN, tagOf } from "./fake-hub.js";
import { STORIES, startHub, storyFiles } from "./models.js";

const test = suite("hub/command");
const folder = scratch(test);
const stories = storyFiles();
const WEIGHTS = "model.safetensors";

let hub: FakeHub;
let homes = 0;

test.before(async () => {
  hub = await startHub();
  hub.add({ id: "org/gated", gated: true, files: stories });
  process.env.HF_ENDPOINT = hub.url;
});
test.before.each(() => {
  hub.reset();
  process.env.HF_HOME = join(folder, `home-${++homes}`);
});
test.after(() => hub.close());

const snapshot = () =>
  join(process.env.HF_HOME!, "hub", "models--org--stories", "snapshots", COMMIT);

/** Runs the program, which must end well. */
async function works(...args: string[]): Promise<{ stdout: string; stderr: string }> {
  const { code, ...printed } = await penjing(args);
  assert.is(code, 0, `${args.join(" ")}\n${printed.stderr}`);
  return printed;
}

test("download prints the folder, with progress, and takes what is there", async () => {
  const { stdout, stderr } = await works("download", "org/stories");
  assert.is(stdout, `${snapshot()}\n`);
  assert.match(stderr, /^download 100%: .*\/s\)$/m);
  assert.equal(new Uint8Array(readFileSync(join(snapshot(), WEIGHTS))), stories[WEIGHTS]);
  const again = await works("download", "hf://org/stories", "--json", "--offline");
  const { files, ...told } = JSON.parse(again.stdout);
  assert.equal(told, {
    ...{ name: "hf://org/stories", commit: COMMIT, fetchedBytes: 0 },
    ...{ path: snapshot(), folder: snapshot() },
  });
  assert.equal(files, readdirSync(snapshot()).sort());
  const out = join(folder, "copy");
  const copied = await works("download", "org/stories", "--out", out);
  assert.is(copied.stdout, `${out}\n`);
  assert.equal(readdirSync(out).sort(), files);
  assert.ok(lstatSync(join(out, WEIGHTS)).isFile());
  await fails(
    ["download", "org/stories", "--out", out],
    /the folder exists and is not empty/,
    folder,
  );
  const cache = join(folder, "other");
  const named = await works("download", "org/stories", "--cache", cache, "--revision", "dev");
  assert.is(named.stdout, `${join(cache, "models--org--stories", "snapshots", OTHER)}\n`);
});

test("compress, eval, generate and export take a name, downloaded or streamed", async () => {
  const out = join(folder, "out");
  const text = join(folder, "text.txt");
  writeFileSync(text, readFileSync(EVALUATION, "utf8").slice(0, 3000));
  await works("compress", "org/stories", "--calibration", CALIBRATION, "--out", out, ...QUICK);
  assert.ok(existsSync(join(snapshot(), WEIGHTS)));
  const streamed = join(folder, "streamed");
  const args = ["--calibration", CALIBRATION, "--out", streamed, ...QUICK, "--eval", text];
  process.env.HF_HOME = join(folder, "unused");
  await works("compress", "hf://org/stories@main", ...args, "--no-download");
  assert.equal(readFileSync(join(streamed, WEIGHTS)), readFileSync(join(out, WEIGHTS)));
  const score = await works("eval", "org/stories", "--text", text, "--no-download", "--json");
  const own = await works("eval", STORIES, "--text", text, "--json");
  assert.is(JSON.parse(score.stdout).perplexity, JSON.parse(own.stdout).perplexity);
  assert.is(JSON.parse(score.stdout).model, "org/stories");
  const said = await works(
    "generate",
    "org/stories",
    "Once",
    "--max-new-tokens",
    "3",
    "--no-download",
  );
  assert.match(said.stdout, /^Once/);
  await works("export", "org/stories", "--out", join(folder, "plain"), "--no-download");
  assert.ok(!existsSync(process.env.HF_HOME), "nothing was written");
});

test("texts come from datasets on the hub", async () => {
  const text = readFileSync(EVALUATION, "utf8").slice(0, 3000);
  const lines = `${JSON.stringify({ text })}\n`;
  hub.add({ id: "datasets/org/texts", files: { "data/test.jsonl": lines } });
  const args = ["eval", STORIES, "--json", "--text"];
  const streamed = await works(...args, "hf://datasets/org/texts/data/test.jsonl");
  const own = join(folder, "own.jsonl");
  writeFileSync(own, lines);
  const [found, expected] = [streamed, await works(...args, own)].map(({ stdout }) =>
    JSON.parse(stdout),
  );
  assert.is(found.perplexity, expected.perplexity);
  await fails(
    [...args, "hf://datasets/org/texts/none.jsonl"],
    /has no such file; it has "data/,
    folder,
  );
});

test("inspect reads headers alone, and zeros when it is asked to", async () => {
  const { stdout, stderr } = await works("inspect", "org/stories");
  assert.match(stdout, /^model\.embed_tokens\.weight +\S+ +\[.*\] +- +- +dense/m);
  assert.match(stderr, /zeros are not counted .* --zeros reads them/);
  assert.ok(hub.fileBytes < 50_000, `${hub.fileBytes} bytes`);
  assert.ok(!existsSync(process.env.HF_HOME!));
  assert.match((await works("inspect", "org/stories", "--zeros")).stdout, /0\.0%/);
});

test("a token comes from the environment, a file of it, or where it was stored", async () => {
  await fails(["inspect", "org/gated"], /is gated: accept its terms at /, folder);
  const token = join(folder, "token");
  writeFileSync(token, `${TOKEN}\n`);
  for (const [name, value] of [
    ["HF_TOKEN", TOKEN],
    ["HF_TOKEN_PATH", token],
    ["HF_HOME", folder],
  ]) {
    const before = process.env[name];
    process.env[name] = value;
    await works("inspect", "org/gated");
    if (before === undefined) delete process.env[name];
    else process.env[name] = before;
  }
});

test("what the command line refuses", async () => {
  await fails(
    ["download", "models"],
    /\[models\] it is not a name on the hub; a name on the hub is hf:/,
    folder,
  );
  await fails(
    ["eval", "org/stories", "--text", EVALUATION, "--offline"],
    /without --offline \(HF_HUB_OFFLINE\)/,
    folder,
  );
  await fails(
    ["generate", "./org/stories", "x"],
    /\[.*org\/stories\] .*nothing at this path/,
    folder,
  );
  await fails(
    ["inspect", "examples/stories-1m", "--revision", "v2"],
    /\[examples\/stories-1m\] it is on this machine, where it has no --revision; leave that out/,
    folder,
  );
  process.env.HF_HUB_OFFLINE = "1";
  await fails(["download", "org/stories"], /the cache at .* does not hold it/, folder);
  delete process.env.HF_HUB_OFFLINE;
  // A recipe that is wrong is told before anything is downloaded.
  hub.reset();
  const args = ["compress", "org/stories", "--sparsity", "9:4", "--out", join(folder, "no")];
  await fails(args, /9:4/, folder);
  assert.is(hub.heard.length, 0);
});

test("Ctrl-C ends a download soon, and the same command goes on", async () => {
  const blobs = join(process.env.HF_HOME!, "hub", "models--org--stories", "blobs");
  const partial = join(blobs, `${tagOf(WEIGHTS, stories[WEIGHTS])}.incomplete`);
  let served = 0;
  hub.fault = (path) => {
    if (path !== WEIGHTS) return undefined;
    return served++ === 0 ? { cutAfter: 500_000 } : { isSilent: true };
  };
  let pressed = 0;
  const { code, stderr } = await penjing(["download", "org/stories"], {
    when: /2\d%|3\d%/,
    act: (child) => {
      pressed = performance.now();
      child.kill("SIGINT");
    },
  });
  const seconds = (performance.now() - pressed) / 1000;
  assert.is(code, 130);
  assert.match(
    stderr,
    /penjing: stopped; what has arrived is kept, and the same command goes on there$/m,
  );
  assert.ok(seconds < 2, `${seconds} s`);
  const { size } = statSync(partial);
  assert.ok(size <= 500_000 && size >= 500_000 - LOST, `${size}`);
  const left = readdirSync(blobs).filter((name) => !/^[0-9a-f]+$/.test(name));
  assert.is(left.length, 1, left.join());
  hub.reset();
  await works("download", "org/stories");
  const asked = hub.heard.filter(({ origin }) => origin === "cdn").map(({ range }) => range);
  assert.equal(asked, [`bytes=${size}-`]);
});

/** Mounts a small file system, which only root may; undefined when it cannot. */
function smallDisk(): string | undefined {
  const path = scratch(test);
  const args = ["-t", "tmpfs", "-o", "size=1m", "penjing-test", path];
  return spawnSync("mount", args).status === 0 ? path : undefined;
}

const disk = smallDisk();
const NO_DISK = "mounting a small disk needs root";
skipUnless(test, disk !== undefined, NO_DISK, "a full disk is one sentence", async () => {
  try {
    const { code, stderr } = await penjing(["download", "org/stories", "--cache", disk!]);
    assert.is(code, 1);
    assert.match(
      stderr,
      /^penjing: \[org\/stories\] \d+ bytes are to be downloaded, and the disk of the cache has room for \d+; free space there, or name a cache on another disk \(HF_HUB_CACHE or --cache\)\.$/m,
    );
    // It fills while the download runs.
    hub.fault = (path) => {
      if (path === WEIGHTS) writeFileSync(join(disk!, "filler"), new Uint8Array(800_000));
      return undefined;
    };
    hub.add({
      id: "org/medium",
      files: { "config.json": "{}", [WEIGHTS]: new Uint8Array(600_000) },
    });
    const full = await penjing(["download", "org/medium", "--cache", disk!]);
    assert.is(full.code, 1);
    assert.match(full.stderr, /^what has arrived is kept, and the same command goes on there$/m);
    assert.match(
      full.stderr,
      /^penjing: \[.*\.incomplete\] writing failed \(ENOSPC\): the disk is full; free space .*\.$/m,
    );
  } finally {
    spawnSync("umount", [disk!]);
  }
});

test.run();
