// Downloads of one model at the same time: the second waits for the first.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import * as assert from "uvu/assert";
import { type DownloadEvent, downloadModel, type HubOptions } from "../../src/index.js";
import { lockFolder } from "../../src/platform/lock.js";
import { CALIBRATION, type Ended, penjing, QUICK } from "../cli/program.js";
import { note, repositoryRoot } from "../shared.js";
import { assertWhole, hubSuite } from "./downloads.js";
import { storyFiles } from "./models.js";

const { test, hub, newCache, download, refusal } = await hubSuite("hub/together");
const stories = storyFiles();
const WEIGHTS = "model.safetensors";
const WAITS =
  /process \d+ on .* downloads it just now; waiting until that has ended \(Ctrl-C, in code .?signal.?, stops the wait\)/;
/** Bytes of what is downloaded. */
const ALL = Object.values(stories).reduce((sum, { length }) => sum + length, "Apache-2.0".length);

const locksOf = (cache: string) => join(cache, ".locks", "models--org--stories");

/** Lets the weights come to their first so many bytes, and then no further until it is called. */
function stall(bytes: number): () => void {
  let served = 0;
  let isStalled = true;
  hub.fault = (path) => {
    if (path !== WEIGHTS || !isStalled) return undefined;
    return served++ === 0 ? { cutAfter: bytes } : { isSilent: true };
  };
  return () => {
    isStalled = false;
  };
}

/** A download whose notes can be waited for. */
function listen(cacheDir: string, options: HubOptions = {}) {
  const events: DownloadEvent[] = [];
  let heard = () => {};
  const noted = new Promise<void>((resolve) => {
    heard = resolve;
  });
  const work = async () => {
    const run = downloadModel("org/stories", { endpoint: hub.url, cacheDir, ...options });
    for await (const event of run) {
      events.push(event);
      if (event.type === "note") heard();
    }
    return run.result();
  };
  const notes = () => events.flatMap((event) => (event.type === "note" ? [event.message] : []));
  return { noted, notes, model: work() };
}

/** A process that holds the lock of a cache's model until it is killed. */
async function holder(cache: string): Promise<ChildProcess> {
  mkdirSync(locksOf(cache), { recursive: true });
  const lock = pathToFileURL(join(repositoryRoot, "build", "out", "src", "platform", "lock.js"));
  const program = `
    const { lockFolder } = await import(${JSON.stringify(lock.href)});
    await lockFolder(${JSON.stringify(locksOf(cache))});
    process.stdout.write("held");
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await new Promise((resolve) => child.stdout!.once("data", resolve));
  return child;
}

/** Ends a process, and waits until it has ended. */
async function kill(child: ChildProcess): Promise<void> {
  const closed = new Promise((resolve) => child.once("close", resolve));
  child.kill("SIGKILL");
  await closed;
}

test("the second says once what it waits for, and takes what the first has downloaded", async () => {
  const cacheDir = newCache();
  process.env.HF_HUB_DOWNLOAD_TIMEOUT = "1";
  const goOn = stall(500_000);
  const first = download("org/stories", { cacheDir });
  while (!existsSync(join(locksOf(cacheDir), "lock"))) {
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  const second = listen(cacheDir);
  await second.noted;
  goOn();
  const { model } = await first;
  delete process.env.HF_HUB_DOWNLOAD_TIMEOUT;
  assertWhole(model.path);
  const { path, fetchedBytes } = await second.model;
  assert.is(path, model.path);
  assert.is(fetchedBytes, 0);
  assert.is(second.notes().length, 1, second.notes().join());
  assert.match(second.notes()[0], WAITS);
  assert.ok(!existsSync(join(locksOf(cacheDir), "lock")), "unlocked");
});

test("a process that is killed is waited for no longer", async () => {
  const cacheDir = newCache();
  const child = await holder(cacheDir);
  const second = listen(cacheDir);
  await second.noted;
  assert.match(second.notes()[0], new RegExp(`^process ${child.pid} on `));
  const killed = performance.now();
  await kill(child);
  const { path, fetchedBytes } = await second.model;
  assertWhole(path);
  assert.is(fetchedBytes, ALL);
  assert.ok(performance.now() - killed < 5000);
});

test("whoever downloads does not wait for a process that had died before", async () => {
  const cacheDir = newCache();
  await kill(await holder(cacheDir));
  const { model, notes } = await download("org/stories", { cacheDir });
  assertWhole(model.path);
  assert.equal(notes, []);
});

test("the signal ends the wait at once, on another machine's process too, and the lock stays", async () => {
  const cacheDir = newCache();
  const path = join(locksOf(cacheDir), "lock");
  mkdirSync(locksOf(cacheDir), { recursive: true });
  const elsewhere = { token: "x", host: "far", place: "away", pid: 1, started: "" };
  const own = await lockFolder(locksOf(cacheDir));
  for (const text of [readFileSync(path, "utf8"), `${JSON.stringify(elsewhere)}\n0\n`]) {
    writeFileSync(path, text);
    const abort = new AbortController();
    const { model } = listen(cacheDir, { signal: abort.signal });
    const ended = model.catch((error: Error) => error);
    await new Promise((resolve) => setTimeout(resolve, 700));
    const start = performance.now();
    abort.abort();
    assert.is(((await ended) as Error).name, "AbortError");
    assert.ok(performance.now() - start < 100, `${performance.now() - start} ms`);
    assert.is(readFileSync(path, "utf8").split("\n")[0], text.split("\n")[0]);
  }
  await own.release();
});

test("a process of another machine that gives no sign of life is told of as well", async () => {
  const cacheDir = newCache();
  const elsewhere = { token: "x", host: "far", place: "away", pid: 1, started: "" };
  mkdirSync(locksOf(cacheDir), { recursive: true });
  writeFileSync(join(locksOf(cacheDir), "lock"), `${JSON.stringify(elsewhere)}\n0\n`);
  const abort = new AbortController();
  const { noted, notes, model } = listen(cacheDir, { signal: abort.signal });
  const ended = model.catch((error: Error) => error);
  await noted;
  abort.abort();
  assert.is(((await ended) as Error).name, "AbortError");
  assert.match(notes().join(), /^a process on another machine locked it; waiting for a sign .*\)$/);
});

test("a cache that cannot be locked is one sentence", async () => {
  const cacheDir = newCache();
  mkdirSync(join(locksOf(cacheDir), "lock"), { recursive: true });
  assert.match(await refusal("org/stories", { cacheDir }), /lock\] it is no file; remove it\.$/);
});

test("two commands at once: the second waits with one line, and both end well", async () => {
  const home = newCache();
  process.env.HF_HOME = home;
  process.env.HF_ENDPOINT = hub.url;
  const goOn = stall(500_000);
  process.env.HF_HUB_DOWNLOAD_TIMEOUT = "1";
  const out = join(home, "out");
  const first = penjing(["download", "org/stories"]);
  while (!existsSync(join(locksOf(join(home, "hub")), "lock"))) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const args = ["compress", "org/stories", "--calibration", CALIBRATION, "--out", out, ...QUICK];
  const ends: Ended[] = await Promise.all([first, penjing(args, { when: WAITS, act: goOn })]);
  for (const { code, stderr } of ends) assert.is(code, 0, stderr);
  const lines = ends[1].stderr.split("\n").filter((line) => WAITS.test(line));
  assert.is(lines.length, 1, ends[1].stderr);
  assert.match(lines[0], /^note: org\/stories: process /);
  assert.ok(existsSync(join(out, WEIGHTS)));
});

test("Ctrl-C ends a command that waits within 300 ms", async () => {
  const home = newCache();
  process.env.HF_HOME = home;
  process.env.HF_ENDPOINT = hub.url;
  const child = await holder(join(home, "hub"));
  let pressed = 0;
  const { code, stderr } = await penjing(["download", "org/stories"], {
    when: WAITS,
    act: (waiting) => {
      pressed = performance.now();
      waiting.kill("SIGINT");
    },
  });
  const took = performance.now() - pressed;
  await kill(child);
  assert.is(code, 130, stderr);
  assert.match(stderr, /^penjing: stopped;/m);
  note(`from Ctrl-C to the exit of a download that waits: ${took.toFixed(0)} ms`);
  assert.ok(took < 300, `${took} ms`);
});

test.run();
