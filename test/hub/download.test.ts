// Downloads from a fake hub into the cache, with the faults that networks and hubs have.
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/index.js";
import { note } from "../shared.js";
import { assertWhole, hubSuite } from "./downloads.js";
import { COMMIT, type Fault, LOST, tagOf } from "./fake-hub.js";
import { NOISE, STORIES, shardedFiles, storyFiles } from "./models.js";

const { test, hub, newCache, download, refusal } = await hubSuite("hub/download");
const stories = storyFiles();
const WEIGHTS = "model.safetensors";
const SHA = tagOf(WEIGHTS, stories[WEIGHTS]);

/** Once, at the first request for a file. */
function once(name: string, fault: Fault): void {
  let isDone = false;
  hub.fault = (path) => {
    if (path !== name || isDone) return undefined;
    isDone = true;
    return fault;
  };
}

function modelFolder(cache: string): string {
  return join(cache, "models--org--stories");
}

test("a model lies in the cache as Python lays it out, and nothing else of the repository", async () => {
  const cacheDir = newCache();
  const { model, events } = await download("org/stories", { cacheDir });
  assert.is(model.commit, COMMIT);
  assert.is(model.path, join(modelFolder(cacheDir), "snapshots", COMMIT));
  assertWhole(model.path);
  const link = readlinkSync(join(model.path, WEIGHTS));
  assert.is(link, join("..", "..", "blobs", SHA));
  assert.is(readFileSync(join(modelFolder(cacheDir), "refs", "main"), "utf8"), COMMIT);
  const blobs = readdirSync(join(modelFolder(cacheDir), "blobs"));
  assert.ok(
    blobs.every((name) => /^[0-9a-f]{40}$|^[0-9a-f]{64}$/.test(name)),
    blobs.join(),
  );
  for (const name of Object.keys(NOISE)) {
    assert.ok(!hub.heard.some(({ url }) => url.includes(encodeURIComponent(name))), name);
  }
  const [start] = events;
  assert.ok(start.type === "start" && start.missing === start.bytes && start.bytes > 1e6);
  const last = events.at(-1)!;
  assert.ok(last.type === "progress" && last.fraction === 1 && last.done === start.bytes);
  assert.is(model.fetchedBytes, start.bytes);

  hub.reset();
  const again = await download("hf://org/stories@main", { cacheDir });
  assert.is(again.model.path, model.path);
  assert.is(hub.fileBytes, 0, "nothing is fetched twice");
  const offline = await download("org/stories", { cacheDir, offline: true });
  assert.is(offline.model.path, model.path);
});

test("a library call opens a name, and a path of the same name comes first", async () => {
  const cacheDir = newCache();
  const checkpoint = await openCheckpoint("org/stories", { hub: { endpoint: hub.url, cacheDir } });
  assert.is(checkpoint.folder.path, join(modelFolder(cacheDir), "snapshots", COMMIT));
  await checkpoint.close();
  await assert_throws(
    () => openCheckpoint("test/hub", { hub: { endpoint: hub.url, cacheDir } }),
    /neither model\.safetensors nor/,
  );
});

async function assert_throws(run: () => Promise<unknown>, message: RegExp): Promise<void> {
  const error = await run().then(
    () => undefined,
    (thrown) => thrown as Error,
  );
  assert.match(error?.message ?? "nothing was thrown", message);
}

test("shards are those that the index lists", async () => {
  const files = await shardedFiles(400_000);
  const extra = { "consolidated.safetensors": new Uint8Array(9) };
  hub.add({ id: "org/sharded", files: { ...files, ...extra } });
  hub.pageSize = 3;
  const { model } = await download("org/sharded", { cacheDir: newCache() });
  assert.equal(readdirSync(model.path).sort(), Object.keys(files).sort());
  const [checkpoint, whole] = [await openCheckpoint(model.path), await openCheckpoint(STORIES)];
  assert.is(checkpoint.tensors.size, whole.tensors.size);
  await Promise.all([checkpoint.close(), whole.close()]);
});

test("a download that is cut at every tenth goes on at its last byte", async () => {
  const cacheDir = newCache();
  const { length } = stories[WEIGHTS];
  const tenth = Math.ceil(length / 10);
  const partial = join(modelFolder(cacheDir), "blobs", `${SHA}.incomplete`);
  // Each run is stopped when another tenth has come.
  for (let i = 1; i < 10; i++) {
    const abort = new AbortController();
    hub.fault = (path) => (path === WEIGHTS ? { cutAfter: tenth } : undefined);
    const work = download("org/stories", { cacheDir, signal: abort.signal });
    const ended = work.catch((error: Error) => error);
    const wanted = Math.min(length, i * tenth);
    while ((existsSync(partial) ? statSync(partial).size : 0) < wanted) {
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    abort.abort();
    assert.is(((await ended) as Error).name, "AbortError");
    assert.ok(!existsSync(join(cacheDir, ".locks", "models--org--stories", "lock")), "unlocked");
  }
  hub.fault = () => undefined;
  const { model } = await download("org/stories", { cacheDir });
  assertWhole(model.path);
  const small = Object.entries(stories).reduce((sum, [, bytes]) => sum + bytes.length, 0) - length;
  const twice = hub.fileBytes - length - small - "Apache-2.0".length;
  note(`a download cut at every tenth: ${twice} bytes of ${length} were sent twice`);
  assert.ok(twice <= LOST * 9, `${twice} bytes were sent twice`);
});

test("a cut connection is opened again within a run, each byte fetched once", async () => {
  const cacheDir = newCache();
  hub.fault = (path) => (path === WEIGHTS ? { cutAfter: 300_000 } : undefined);
  const { model } = await download("org/stories", { cacheDir });
  assertWhole(model.path);
  const starts = hub.heard.flatMap(({ origin, range }) =>
    origin === "cdn" ? [Number(/\d+/.exec(range!)![0])] : [],
  );
  for (const [i, start] of starts.entries()) {
    const end = Math.min(start + 300_000, stories[WEIGHTS].length);
    const next = starts[i + 1] ?? end;
    assert.ok(next <= end && next >= end - LOST, starts.join());
  }
});

const CURED: readonly (readonly [string, Fault, RegExp | undefined])[] = [
  ["500", { status: 500 }, undefined],
  ["429 with Retry-After", { status: 429, headers: { "retry-after": "1" } }, /asks to wait 1 s/],
  ["damaged bytes", { isDamaged: true }, /arrived damaged and is downloaded again/],
  ["an empty answer", { cutAfter: 0 }, undefined],
  ["ranges ignored", { ignoresRange: true }, undefined],
];

for (const [what, fault, noted] of CURED) {
  test(`${what}, once, is got over`, async () => {
    once(WEIGHTS, fault);
    const { model, notes } = await download("org/stories", { cacheDir: newCache() });
    assertWhole(model.path);
    assert.match(notes.join("\n"), noted ?? /^$/);
  });
}

test("a server that ignores ranges sends the file anew, and the checksum is right", async () => {
  const cacheDir = newCache();
  mkdirSync(join(modelFolder(cacheDir), "blobs"), { recursive: true });
  const partial = join(modelFolder(cacheDir), "blobs", `${SHA}.incomplete`);
  writeFileSync(partial, stories[WEIGHTS].subarray(0, 100_000));
  hub.fault = (path) => (path === WEIGHTS ? { ignoresRange: true } : undefined);
  const { model } = await download("org/stories", { cacheDir });
  assertWhole(model.path);
  assert.ok(!existsSync(partial));
});

test("a silent connection counts as cut", async () => {
  process.env.HF_HUB_DOWNLOAD_TIMEOUT = "0.3";
  once(WEIGHTS, { isSilent: true });
  const { model } = await download("org/stories", { cacheDir: newCache() });
  delete process.env.HF_HUB_DOWNLOAD_TIMEOUT;
  assertWhole(model.path);
});

test("what is damaged in the cache is mended", async () => {
  const cacheDir = newCache();
  const { model } = await download("org/stories", { cacheDir });
  const blobs = join(modelFolder(cacheDir), "blobs");
  truncateSync(join(blobs, SHA), 1000);
  const config = tagOf("config.json", stories["config.json"]);
  rmSync(join(blobs, config));
  assert.ok(lstatSync(join(model.path, "config.json")).isSymbolicLink());
  assert.match(
    await refusal("org/stories", { cacheDir, offline: true }),
    /^\[org\/stories\] in the cache "config\.json" is a link to a file that is not there; run once without/,
  );
  // An unfinished file that is longer than the whole one.
  writeFileSync(join(blobs, `${config}.incomplete`), new Uint8Array(99_999));
  const { notes } = await download("org/stories", { cacheDir });
  assertWhole(model.path);
  assert.match(notes.join(), /model\.safetensors was half-written in the cache/);
});

test("where links are not permitted, files are copied", async () => {
  const { Cache } = await import("../../src/hub/cache.js");
  const { parseHubName } = await import("../../src/hub/names.js");
  const cacheDir = newCache();
  await download("org/stories", { cacheDir });
  const cache = await Cache.of(cacheDir, parseHubName("org/stories"));
  const file = {
    path: "deep/er.json",
    size: 10,
    tag: tagOf("LICENSE", "Apache-2.0"),
    isLarge: false,
  };
  const other = "b".repeat(40);
  const refused = async () => {
    throw Object.assign(new Error("no links here"), { code: "EPERM" });
  };
  await cache.place(other, file, refused);
  const path = join(modelFolder(cacheDir), "snapshots", other, "deep", "er.json");
  assert.ok(lstatSync(path).isFile());
  assert.is(readFileSync(path, "utf8"), "Apache-2.0");
  assert.ok(await cache.holds(other, file));
});

test("files and split files of any repository, datasets too", async () => {
  const gguf = {
    "m-Q8_0.gguf": new Uint8Array(999),
    "m-Q4_0-00001-of-00002.gguf": "a",
    "m-Q4_0-00002-of-00002.gguf": "b",
  };
  hub.add({ id: "org/gguf", files: { ...gguf, "README.md": "x" } });
  const cacheDir = newCache();
  assert.match(
    await refusal("org/gguf", { cacheDir }),
    /^\[org\/gguf\] its weights are GGUF files: "m-Q4_0-00001-of-00002\.gguf", .*; name one, as in hf:\/\/org\/gguf\/m-Q4/,
  );
  const one = await download("hf://org/gguf/m-Q8_0.gguf", { cacheDir });
  assert.is(
    one.model.path,
    join(cacheDir, "models--org--gguf", "snapshots", COMMIT, "m-Q8_0.gguf"),
  );
  assert.equal(readdirSync(join(one.model.path, "..")), ["m-Q8_0.gguf"]);
  const split = await download("hf://org/gguf/m-Q4_0-00001-of-00002.gguf", { cacheDir });
  assert.is(readdirSync(join(split.model.path, "..")).length, 3);
  assert.match(
    await refusal("hf://org/gguf/n.gguf", { cacheDir }),
    /has no such file; it has "m-Q4_0/,
  );
  hub.add({ id: "datasets/org/texts", files: { "data/test.parquet": "rows" } });
  const { downloadHubFile, openRemoteFile } = await import("../../src/hub/hub.js");
  const name = "hf://datasets/org/texts/data/test.parquet";
  const path = await downloadHubFile(name, { cacheDir, endpoint: hub.url });
  assert.is(readFileSync(path, "utf8"), "rows");
  assert.match(path, /datasets--org--texts/);
  const source = await openRemoteFile(name, { endpoint: hub.url });
  assert.is(new TextDecoder().decode(await source.read(1, 2)), "ow");
});

test("without a network the cache does, with a note, and nothing else", async () => {
  const cacheDir = newCache();
  await download("org/stories", { cacheDir });
  const endpoint = "http://127.0.0.1:1";
  const { model, notes } = await download("org/stories", { cacheDir, endpoint });
  assertWhole(model.path);
  assert.match(notes.join(), /the hub cannot be reached; commit a{40} of the cache is taken/);
});

test.run();
