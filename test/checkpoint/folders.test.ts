import * as fs from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Checkpoint, openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { memoryFolder } from "../../src/platform/files.js";
import { skipUnless } from "../shared.js";
import { crafted, refused } from "./crafted.js";

const test = suite<{ dir: string }>("folders");

test.before.each(async (context) => {
  context.dir = await fs.mkdtemp(join(tmpdir(), "penjing-folders-"));
});
test.after.each(async ({ dir }) => {
  await fs.rm(dir, { recursive: true, force: true });
});

type Files = Readonly<Record<string, Uint8Array | string>>;

/** A valid weight file with one F32 of the given name each. */
function shard(...names: string[]): Uint8Array {
  const entries = names.map(
    (name, i) => `"${name}":{"dtype":"F32","shape":[1],"data_offsets":[${i * 4},${i * 4 + 4}]}`,
  );
  return crafted(`{${entries}}`, names.length * 4);
}

const INDEX = "model.safetensors.index.json";
const index = (map: object): string => JSON.stringify({ weight_map: map });
const part = (i: number, of: number) => `model-0000${i}-of-0000${of}.safetensors`;

async function write(folder: string, files: Files): Promise<string> {
  for (const [name, content] of Object.entries(files)) {
    await fs.mkdir(join(folder, name, ".."), { recursive: true });
    await fs.writeFile(join(folder, name), content);
  }
  return folder;
}

async function opened(path: string, use: (checkpoint: Checkpoint) => void): Promise<void> {
  const checkpoint = await openCheckpoint(path);
  try {
    use(checkpoint);
  } finally {
    await checkpoint.close();
  }
}

const USED: readonly (readonly [what: string, files: Files, tensors: string[], note: RegExp])[] = [
  [
    "a stale index beside a complete set of shards",
    {
      [part(1, 2)]: shard("a"),
      [part(2, 2)]: shard("b"),
      [INDEX]: index({ a: part(1, 3), b: part(2, 3), c: part(3, 3) }),
    },
    ["a", "b"],
    /index\.json does not fit the files; the 2 shards that are there are read without it/,
  ],
  [
    "an index that lists other tensors than its shards hold",
    { [part(1, 1)]: shard("a", "b"), [INDEX]: index({ a: part(1, 1) }) },
    ["a", "b"],
    /does not fit the files; the 1 shards/,
  ],
  [
    "shards without an index",
    { [part(1, 2)]: shard("a"), [part(2, 2)]: shard("b") },
    ["a", "b"],
    /^there is no model\.safetensors\.index\.json; 2 shards are read$/,
  ],
  [
    "a single shard without an index",
    { [part(1, 1)]: shard("a") },
    ["a"],
    /^there is no model\.safetensors\.index\.json; the weights are model-00001-of-00001/,
  ],
  [
    "weights of another name",
    { "weights.safetensors": shard("a"), "x.bin": "" },
    ["a"],
    /^there is no model\.safetensors; the weights are weights\.safetensors$/,
  ],
  [
    "a tied head that only the index lists",
    { [part(1, 1)]: shard("a"), [INDEX]: index({ a: part(1, 1), "lm_head.weight": part(1, 1) }) },
    ["a"],
    /lists lm_head\.weight, which is not stored; it is passed over/,
  ],
];

for (const [what, files, tensors, note] of USED) {
  test(`${what}: used, and said`, async ({ dir }) => {
    for (const path of [memoryFolder(files), await write(dir, files)]) {
      const checkpoint = await openCheckpoint(path);
      assert.equal([...checkpoint.tensors.keys()], tensors);
      assert.is(checkpoint.notes.length, 1);
      assert.match(checkpoint.notes[0], note);
      await checkpoint.close();
    }
  });
}

const REFUSED: readonly (readonly [what: string, files: Files, message: RegExp])[] = [
  [
    "an adapter",
    {
      "adapter_config.json": '{"base_model_name_or_path":"org/base"}',
      "adapter_model.safetensors": shard("a"),
    },
    /it holds a LoRA adapter and not a whole model; merge it into its base model "org\/base"/,
  ],
  [
    "an adapter of pickles with a damaged config",
    { "adapter_config.json": "{", "adapter_model.bin": "" },
    /LoRA adapter .*merge it into its base model \(with peft/,
  ],
  [
    "some of the shards",
    { [part(1, 3)]: shard("a"), [part(3, 3)]: shard("c") },
    /1 of 3 shards are missing\); download model-00002-of-00003\.safetensors/,
  ],
  [
    "two weight files",
    { "a.safetensors": shard("a"), "b.safetensors": shard("b") },
    /it holds a\.safetensors, b\.safetensors\); give the path of the one to read/,
  ],
  [
    "two sets of shards",
    { [part(1, 1)]: shard("a"), "other-1-of-1.safetensors": shard("b") },
    /give the path of the one to read/,
  ],
  [
    "a tensor in two shards",
    { [part(1, 2)]: shard("a"), [part(2, 2)]: shard("a") },
    /"a" is in two shards, model-00001.* and model-00002/,
  ],
  [
    "weights one folder below",
    { "checkpoint-9/model.safetensors": shard("a"), "trainer_state.json": "{}" },
    /one folder below\); give ".*\/checkpoint-9"/,
  ],
  [
    "pickles",
    { "pytorch_model.bin": "", "config.json": "{}" },
    /it holds pytorch_model\.bin\); load it with the program that wrote it and save it as safeten/,
  ],
  [
    "Meta's pickles",
    { "consolidated.00.pth": "", "params.json": "{}" },
    /consolidated\.00\.pth\); load/,
  ],
  ["GGUF", { "m-q4.gguf": "" }, /m-q4\.gguf\] it does not begin with "GGUF"/],
  [
    "several GGUF files",
    { "m-q4.gguf": "", "m-q8.gguf": "" },
    /several GGUF files \(m-q4\.gguf, m-q8\.gguf\); give/,
  ],
  ["ONNX", { "model.onnx": "" }, /it holds model\.onnx\); convert it to safetensors/],
  ["a GGUF file of another name", { "model.safetensors": "GGUF\x03\0\0\0\0" }, /it is a GGUF file/],
  ["a pickle of another name", { "model.safetensors": "PK\x03\x04aaaa" }, /zip archive or PyTorch/],
  [
    "a page in place of the config",
    { "model.safetensors": shard("a"), "config.json": "<!DOCTYPE html><html>" },
    /config\.json\] it is a web page/,
  ],
  [
    "a pointer in place of the config",
    {
      "model.safetensors": shard("a"),
      "config.json": "version https://git-lfs.github.com/spec/v1",
    },
    /config\.json\] it is a Git LFS pointer/,
  ],
];

for (const [what, files, message] of REFUSED) {
  test(`${what}: refused with the cure`, async ({ dir }) => {
    for (const path of [memoryFolder(files), await write(dir, files)]) {
      const error = await refused(() => openCheckpoint(path), message);
      assert.ok(error.message.length <= 500, error.message);
    }
  });
}

test("paths that are no folder", async ({ dir }) => {
  await write(dir, {
    "m.gguf": "",
    "pytorch_model.bin": "",
    "m.txt": "",
    "sha256-0": "GGUF\u0003\0\0\0",
  });
  for (const [path, message] of [
    [join(dir, "m.gguf"), /m\.gguf\] it does not begin with "GGUF"/],
    [join(dir, "pytorch_model.bin"), /it is a PyTorch file; load it/],
    [join(dir, "m.txt"), /a folder or a \.safetensors file/],
    [join(dir, "sha256-0"), /it is a GGUF file under another name; give it the ending \.gguf/],
    ["/dev/null", /it is a pipe or a device, .*; save it to a file first/],
    [join(dir, "nothing"), /there is nothing at this path/],
  ] as const) {
    await refused(() => openCheckpoint(path), message, path);
  }
  await refused(
    () => openCheckpoint(dir, { hub: { revision: "v2" } }),
    /it is on this machine, where it has no `revision`; leave that out, or write hf:/,
  );
  await refused(
    () => openCheckpoint("some-org/Some-Model_1.5", { hub: { offline: true, cacheDir: dir } }),
    /there is no such path here, and the cache at ".*models--some-org--Some-Model_1\.5" does not/,
  );
});

test("an empty path is no model, not the folder that one stands in", async () => {
  await refused(() => openCheckpoint(""), /^\[model\] its path is an empty text; give a folder/);
});

test("a folder of the hub's cache: the newest snapshot", async ({ dir }) => {
  const root = join(dir, "models--org--name");
  const snapshot = async (name: string, tensor: string, time: number) => {
    const folder = join(root, "snapshots", name);
    await write(folder, { "model.safetensors": shard(tensor) });
    await fs.utimes(folder, time, time);
  };
  await refused(() => openCheckpoint(dir), /it is empty/);
  await fs.mkdir(join(root, "snapshots"), { recursive: true });
  await refused(() => openCheckpoint(root), /the cache holds no snapshot.*download it again/);
  await refused(() => openCheckpoint(dir), /a cache of models.*such as ".*models--org--name"/);
  await snapshot("b0", "old", 1_000);
  await snapshot("a1", "new", 2_000);
  await opened(root, ({ tensors, notes, folder }) => {
    assert.equal([...tensors.keys()], ["new"]);
    assert.equal(notes, ["the snapshot a1 of the cache is taken"]);
    assert.is(folder.path, join(root, "snapshots", "a1"));
  });
  await write(root, { "refs/main": "b0\n" });
  await opened(root, ({ tensors }) => assert.equal([...tensors.keys()], ["old"]));
  await write(root, { "refs/main": "gone" });
  await opened(root, ({ tensors }) => assert.equal([...tensors.keys()], ["new"]));
});

skipUnless(
  test,
  process.platform !== "win32",
  "Windows lets few users make symbolic links",
  "links",
  async ({ dir }) => {
    const model = await write(join(dir, "m"), { "config.json": "{}" });
    const away = join(dir, "blob");
    const weights = join(model, "model.safetensors");
    await fs.symlink(away, weights);
    const broken =
      /"model\.safetensors" is a symbolic link to ".*blob", where nothing is; download/;
    await refused(() => openCheckpoint(model), broken);
    const link = join(dir, "link");
    await fs.symlink(join(dir, "gone"), link);
    await refused(() => openCheckpoint(link), /a symbolic link to ".*gone", where nothing is/);
    await fs.writeFile(away, shard("a"));
    await opened(model, ({ tensors }) => assert.equal([...tensors.keys()], ["a"]));
  },
);

test.run();
