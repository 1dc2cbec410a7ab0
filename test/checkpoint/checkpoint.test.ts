import { createHash } from "node:crypto";
import * as fs from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { copyOtherFiles, createCheckpoint } from "../../src/checkpoint/checkpoint-writer.js";
import { createOutputFolder, type Folder, memoryFolder } from "../../src/platform/files.js";
import { sharedPath, sharedTest } from "../shared.js";
import { crafted, refused } from "./crafted.js";

const test = suite("checkpoint");

/** A valid weight file with one F32 of the given name each. */
const shard = (...names: string[]): Uint8Array => {
  const entries = names.map(
    (name, i) => `"${name}":{"dtype":"F32","shape":[1],"data_offsets":[${i * 4},${i * 4 + 4}]}`,
  );
  return crafted(`{${entries}}`, names.length * 4);
};
const index = (map: unknown): string => JSON.stringify({ metadata: {}, weight_map: map });
const INDEX = "model.safetensors.index.json";

/** A folder that counts the files that are open. */
function watched(files: Record<string, Uint8Array | string>): Folder & { open_: number } {
  const inner = memoryFolder(files, "m");
  const folder = {
    ...inner,
    open_: 0,
    async open(name: string) {
      const source = await inner.open(name);
      folder.open_++;
      let open = true;
      const close = async () => {
        if (open) folder.open_--;
        open = false;
      };
      return { ...source, close };
    },
  };
  return folder;
}

test("opens a single file, an index, and prefers the single file", async () => {
  const single = await openCheckpoint(
    memoryFolder({ "model.safetensors": shard("a"), "config.json": '{"x":1}' }),
  );
  assert.equal([...single.tensors.keys()], ["a"]);
  assert.equal(single.config, { x: 1 });
  const files = {
    "s1.safetensors": shard("a", "b"),
    "s2.safetensors": shard("c"),
    [INDEX]: index({ c: "s2.safetensors", a: "s1.safetensors", b: "s1.safetensors" }),
  };
  const sharded = await openCheckpoint(memoryFolder(files));
  assert.equal(
    [...sharded.tensors.values()].map((t) => `${t.name}@${t.file}`),
    ["a@s1.safetensors", "b@s1.safetensors", "c@s2.safetensors"],
  );
  assert.is(sharded.config, undefined);
  assert.is((await sharded.readFloat32("c")).length, 1);
  await refused(() => sharded.read("cc"), /no tensor "cc"; did you mean "c"/);
  const both = await openCheckpoint(memoryFolder({ ...files, "model.safetensors": shard("z") }));
  assert.equal([...both.tensors.keys()], ["z"]);
});

const A = "s1.safetensors";
const BAD: readonly (readonly [
  what: string,
  files: Record<string, Uint8Array | string>,
  RegExp,
])[] = [
  ["an empty folder", {}, /it is empty/],
  ["a folder without weights", { "readme.md": "" }, /it holds readme.md/],
  ["PyTorch weights", { "pytorch_model.bin": "" }, /it holds pytorch_model.bin\); load it/],
  ["GGUF weights", { "x-q4.gguf": "" }, /x-q4.gguf\] it does not begin with "GGUF"/],
  ["a damaged file", { "model.safetensors": new Uint8Array(3) }, /m\/model.safetensors.*3 bytes/],
  [
    "a damaged config",
    { "model.safetensors": shard("a"), "config.json": "{" },
    /config.json.*JSON/,
  ],
  ["a deep config", { "model.safetensors": shard("a"), "config.json": "[".repeat(1e5) }, /deeper/],
  [
    "a key twice in the config",
    { "model.safetensors": shard("a"), "config.json": '{"a":1,"a":2}' },
    /"a" appears twice/,
  ],
  [
    "a byte order mark before the config",
    { "model.safetensors": shard("a"), "config.json": "\ufeff{}" },
    /m\/config\.json\] it begins with a byte order mark/,
  ],
  [
    "half a surrogate pair in the config",
    { "model.safetensors": shard("a"), "config.json": '{"a":["\\udc00"]}' },
    /its text "\\udc00" has half a surrogate pair/,
  ],
  [
    "a large config",
    { "model.safetensors": shard("a"), "config.json": " ".repeat(10_000_001) },
    /more than the 10000000/,
  ],
  ["an index that is a list", { [INDEX]: "[]" }, /no weight_map/],
  ["an index without a map", { [INDEX]: "{}" }, /no weight_map/],
  ["an index with an empty map", { [INDEX]: index({}) }, /lists no tensor/],
  ["a number as shard", { [INDEX]: index({ a: 1 }) }, /must be a file name, found 1/],
  ["a shard outside", { [INDEX]: index({ a: "../s1.safetensors" }) }, /without path separators/],
  ["a shard below", { [INDEX]: index({ a: "x/s1.safetensors" }) }, /without path separators/],
  ["an absolute shard", { [INDEX]: index({ a: "/s1.safetensors" }) }, /without path separators/],
  ["a Windows path", { [INDEX]: index({ a: "c:\\s1.safetensors" }) }, /without path separators/],
  [
    "a shard that is no safetensors file",
    { [INDEX]: index({ a: "config.json" }) },
    /\.safetensors file/,
  ],
  ["a missing shard", { [INDEX]: index({ a: A }) }, /1 of 1 shards .* missing: s1.safetensors/],
  [
    "a missing second shard",
    { [A]: shard("a"), [INDEX]: index({ a: A, b: "s2.safetensors" }) },
    /1 of 2 shards .*: s2/,
  ],
  [
    "a tensor that is in no shard",
    { [A]: shard("a"), [INDEX]: index({ a: A, b: A }) },
    /"b" is in s1.safetensors, but it is not/,
  ],
  [
    "a tensor that is not listed",
    { [A]: shard("a", "b"), [INDEX]: index({ a: A }) },
    /does not list "b"/,
  ],
  [
    "a tensor in two shards",
    {
      [A]: shard("a"),
      "s2.safetensors": shard("a", "b"),
      [INDEX]: index({ a: A, b: "s2.safetensors" }),
    },
    /"a" is in two shards/,
  ],
  [
    "a damaged second shard",
    {
      [A]: shard("a"),
      "s2.safetensors": new Uint8Array(9),
      [INDEX]: index({ a: A, b: "s2.safetensors" }),
    },
    /s2.safetensors/,
  ],
];

for (const [what, files, message] of BAD) {
  test(`refuses ${what}, closing what it opened`, async () => {
    const folder = watched(files);
    await refused(() => openCheckpoint(folder), message);
    assert.is(folder.open_, 0);
  });
}

test("close closes every shard", async () => {
  const folder = watched({
    [A]: shard("a"),
    "s2.safetensors": shard("b"),
    [INDEX]: index({ a: A, b: "s2.safetensors" }),
  });
  const checkpoint = await openCheckpoint(folder);
  assert.is(folder.open_, 2);
  await checkpoint.close();
  assert.is(folder.open_, 0);
});

test("a path: folder, single file, neither", async () => {
  const dir = await fs.mkdtemp(join(tmpdir(), "penjing-checkpoint-"));
  try {
    await fs.writeFile(join(dir, "weights.safetensors"), shard("a"));
    await fs.writeFile(join(dir, "config.json"), "{}");
    await fs.writeFile(join(dir, "holiday.jpg"), "");
    await fs.writeFile(join(dir, "model.safetensors"), shard("b"));
    const single = await openCheckpoint(join(dir, "weights.safetensors"));
    assert.equal([...single.tensors.keys()], ["a"]);
    assert.equal(single.beside.copied, ["config.json"]);
    await single.close();
    const folder = await openCheckpoint(dir);
    assert.equal(folder.beside.copied, ["config.json"]);
    assert.equal(folder.beside.left, ["holiday.jpg", "weights.safetensors"]);
    await folder.close();
    await refused(() => openCheckpoint(join(dir, "holiday.jpg")), /folder or a .safetensors file/);
    await refused(() => openCheckpoint(join(dir, "none")), /ENOENT/);
    await fs.mkdir(join(dir, "m", "model.safetensors"), { recursive: true });
    await refused(() => openCheckpoint(join(dir, "m")), /neither model.safetensors nor/);
  } finally {
    await fs.rm(dir, { recursive: true });
  }
});

const MODELS: readonly (readonly [name: string, shards: number])[] = [
  ["stories-1m", 1],
  ["stories260k", 1],
  ["tinystories-656k", 1],
  ["tiny-random-llama3-rope", 1],
  ["tiny-random-mistral-window", 1],
  ["tiny-random-qwen2-bias", 1],
  ["tiny-random-qwen3-qknorm", 2],
];

const hash = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

for (const [name, shards] of MODELS) {
  sharedTest(test, `${name} opens, and its copy has the same tensors and files`, async () => {
    const dir = await fs.mkdtemp(join(tmpdir(), "penjing-copy-"));
    const original = await openCheckpoint(sharedPath("models", name));
    try {
      assert.is(new Set([...original.tensors.values()].map((t) => t.file)).size, shards);
      assert.type(original.config, "object");
      const output = await createOutputFolder(join(dir, "copy"));
      const tensors = [...original.tensors.values()];
      const writer = createCheckpoint(output, {
        tensors,
        metadata: original.metadata,
        shardBytes: 200_000,
      });
      for (const tensor of tensors)
        await writer.write(tensor.name, await original.read(tensor.name));
      await copyOtherFiles(original, output);
      await writer.finish();
      await output.commit();
      const copy = await openCheckpoint(join(dir, "copy"));
      assert.equal([...copy.tensors.keys()].sort(), [...original.tensors.keys()].sort());
      for (const { name: tensor, dtype, shape } of tensors) {
        const copied = copy.tensors.get(tensor);
        assert.equal([copied?.dtype, copied?.shape], [dtype, shape]);
        assert.is(hash(await copy.read(tensor)), hash(await original.read(tensor)), tensor);
        const values = await copy.readFloat32(tensor);
        assert.ok(values.every(Number.isFinite), tensor);
      }
      assert.equal(copy.beside.copied, original.beside.copied);
      assert.equal(copy.config, original.config);
      await copy.close();
    } finally {
      await original.close();
      await fs.rm(dir, { recursive: true });
    }
  });
}

test.run();
