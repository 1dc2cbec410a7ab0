// Models that stay on a fake hub and are read by range.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  compress,
  describeModel,
  evaluatePerplexity,
  exportModel,
  inspect,
  memoryFolder,
  memoryOutputFolder,
  openCheckpoint,
  openHubFolder,
} from "../../src/index.js";
import { scratch } from "../cli/program.js";
import { CALIBRATION, EVALUATION } from "../compress/stories.js";
import { note } from "../shared.js";
import { COMMIT, type FakeHub, type Fault, LOST } from "./fake-hub.js";
import { manyBlocks, shardedFiles, startHub, storyFiles } from "./models.js";

const test = suite("hub/stream");
const folder = scratch(test);
const stories = storyFiles();
const WEIGHTS = "model.safetensors";
/** Nothing may appear there. */
const cacheDir = join(folder, "cache");

let hub: FakeHub;

test.before(async () => {
  hub = await startHub();
});
test.before.each(() => hub.reset());
test.after(async () => {
  await hub.close();
  assert.ok(!existsSync(cacheDir), "nothing was written");
});

const access = () => ({ endpoint: hub.url, cacheDir });

test("inspect of 80 blocks in 30 shards moves less than a megabyte", async () => {
  const { files, tensors, bytes } = manyBlocks(80, 30);
  hub.add({ id: "org/large", files });
  const started = performance.now();
  const result = await inspect("org/large", { hub: access() }).result();
  const seconds = (performance.now() - started) / 1000;
  assert.is(result.tensors.length, tensors);
  assert.is(result.bytes, bytes);
  assert.is(result.path, `hf://org/large@${COMMIT}`);
  assert.equal([...new Set(result.tensors.map(({ sparsity }) => sparsity))], [undefined]);
  const requests = hub.heard.filter(({ origin }) => origin === "cdn").length;
  note(
    `the hub's inspect of ${tensors} tensors in 30 shards (${bytes} bytes): ${hub.sent} bytes in ${hub.heard.length} requests, ${requests} of them for weights, ${seconds.toFixed(2)} s`,
  );
  assert.ok(hub.sent <= 1e6, `${hub.sent} bytes were sent`);
});

test("inspect counts zeros of a streamed model when it is asked to", async () => {
  const counted = await inspect("org/stories", { hub: access(), zeros: true }).result();
  const own = await inspect(await openCheckpoint(memoryFolder(stories, "m"))).result();
  assert.equal(counted.tensors, own.tensors);
  hub.reset();
  const local = await inspect(await openCheckpoint(memoryFolder(stories)), {
    zeros: false,
  }).result();
  assert.equal([...new Set(local.tensors.map(({ sparsity }) => sparsity))], [undefined]);
});

test("a streamed model is described, measured, compressed and exported as one on the disk", async () => {
  hub.add({ id: "org/sharded", files: await shardedFiles(500_000) });
  const onHub = await openCheckpoint("hf://org/sharded@main", {
    hub: { ...access(), stream: true },
  });
  const own = await openCheckpoint(memoryFolder(stories, "model"));
  const { path: _, ...described } = await describeModel(onHub);
  const { path: __, ...expected } = await describeModel(own);
  assert.equal(described, expected);
  const text = EVALUATION.slice(0, 4000);
  const scores = [];
  const folders = [];
  for (const model of [onHub, own]) {
    scores.push((await evaluatePerplexity({ model, text, backend: "wasm" }).result()).perplexity);
    const out = memoryOutputFolder("out");
    const recipe = { samples: 4, length: 32, method: "wanda" };
    await compress({ model, out, calibration: CALIBRATION, recipe, backend: "wasm" }).result();
    folders.push(out.files);
  }
  assert.is(scores[0], scores[1]);
  assert.equal(folders[0][WEIGHTS], folders[1][WEIGHTS]);
  const out = memoryOutputFolder("out");
  await exportModel({ model: onHub, out }).result();
  assert.ok(out.files[WEIGHTS]);
  await onHub.close();
});

test("a range that is cut goes on where it was cut", async () => {
  const source = await (await openHubFolder("org/stories", access())).open(WEIGHTS);
  hub.reset();
  let cuts = 0;
  hub.fault = (path) => (path === WEIGHTS && cuts++ < 3 ? { cutAfter: 100_000 } : undefined);
  const { length } = stories[WEIGHTS];
  const bytes = await source.read(10_000, length - 10_000);
  assert.equal(bytes, stories[WEIGHTS].slice(10_000));
  const twice = hub.fileBytes - (length - 10_000);
  assert.ok(twice >= 0 && twice <= 3 * LOST, `${twice} bytes twice`);
  assert.is(source.isRemote, true);
});

test("every range of a file reads as it is, around its start too", async () => {
  const source = await (await openHubFolder("org/stories", access())).open(WEIGHTS);
  const all = stories[WEIGHTS];
  for (const [offset, length] of [
    [0, 8],
    [8, 100],
    [8, 9000],
    [8191, 2],
    [8192, 5],
    [all.length - 1, 1],
    [all.length, 0],
    [0, all.length],
  ]) {
    assert.equal(await source.read(offset, length), all.slice(offset, offset + length));
  }
  let said = "";
  await source.read(all.length, 1).catch((error: Error) => {
    said = error.message;
  });
  assert.match(
    said,
    /^\[hf:\/\/org\/stories\/model\.safetensors\] 1 bytes at offset .* were asked for/,
  );
});

const REFUSED: readonly (readonly [string, Fault, RegExp])[] = [
  [
    "ignores ranges",
    { ignoresRange: true },
    /sends whole files where a part is asked for, .*; download the model instead/,
  ],
  [
    "says 416",
    { status: 416 },
    /is shorter than the hub's list says, so that the revision changed/,
  ],
  [
    "says 404",
    { status: 404, headers: { "x-error-code": "EntryNotFound" } },
    /there is no such file in the repository/,
  ],
];

for (const [what, fault, message] of REFUSED) {
  test(`a server that ${what} is told of in one sentence`, async () => {
    const source = await (await openHubFolder("org/stories", access())).open(WEIGHTS);
    hub.fault = (path) => (path === WEIGHTS ? fault : undefined);
    const error = await source.read(100_000, 5).then(
      () => undefined,
      (thrown: Error) => thrown,
    );
    assert.is(error?.name, "PenjingError");
    assert.match(error!.message, message);
  });
}

test("an aborted signal ends the reading soon", async () => {
  const abort = new AbortController();
  hub.fault = (path) => (path === WEIGHTS ? { isSilent: true } : undefined);
  const opening = openCheckpoint("org/stories", {
    hub: { ...access(), stream: true },
    signal: abort.signal,
  });
  const started = performance.now();
  setTimeout(() => abort.abort(), 200);
  const error = await opening.catch((thrown: Error) => thrown);
  assert.is((error as Error).name, "AbortError");
  assert.ok(performance.now() - started < 2000);
});

test.run();
