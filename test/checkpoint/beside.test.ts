import * as fs from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { compress } from "../../src/compress.js";
import { exportModel } from "../../src/export.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { refuseOverlap } from "../../src/platform/overlap.js";
import { repositoryRoot, skipUnless } from "../shared.js";
import { crafted, refused } from "./crafted.js";

const test = suite<{ dir: string }>("files beside the weights");

test.before.each(async (context) => {
  context.dir = await fs.realpath(await fs.mkdtemp(join(tmpdir(), "penjing-beside-")));
});
test.after.each(async ({ dir }) => {
  await fs.rm(dir, { recursive: true, force: true });
});

const MODEL = join(repositoryRoot, "examples", "stories-1m");
const WEIGHTS = { "model.safetensors": crafted("{}") };

const BELONGING = [
  "LICENSE",
  "LICENSE.txt",
  "LICENSE-MODEL",
  "NOTICE",
  "README.md",
  "USE_POLICY.md",
  "added_tokens.json",
  "additional_chat_templates/tools.jinja",
  "chat_template.jinja",
  "config.json",
  "generation_config.json",
  "merges.txt",
  "notes/readme.md",
  "notes.txt",
  "qwen.tiktoken",
  "special_tokens_map.json",
  "tokenization_own.py",
  "tokenizer.json",
  "tokenizer.model",
  "tokenizer_config.json",
  "vocab.json",
];

const OTHERS = [
  "LICENSE.safetensors",
  "README.bin",
  "adapter_config.json",
  "adapter_model.bin",
  "coreml/model.mlmodel",
  "events.out.tfevents",
  "lora/adapter_model.safetensors",
  "model.gguf",
  "onnx/config.json",
  "onnx/model.onnx",
  "optimizer.pt",
  "other.safetensors",
  "pytorch_model.bin",
  "pytorch_model.bin.index.json",
  "rng_state_0.pth",
  "scheduler.pt",
  "tokenizer.model.bak",
  "trainer_state.json",
  "training_args.bin",
  "weights.npz",
];

test("what belongs is copied, everything else is left and named", async () => {
  const files = [...BELONGING, ...OTHERS].map((name) => [name, "{}"] as const);
  const long = "x".repeat(2 ** 20 + 1);
  const folder = memoryFolder({
    ...Object.fromEntries(files),
    ...WEIGHTS,
    "log.txt": long,
    "tokenizer.json": long,
  });
  const { beside } = await openCheckpoint(folder);
  assert.equal(beside.copied, BELONGING.sort());
  assert.equal(beside.left, [...OTHERS, "log.txt"].sort());
  assert.is(beside.links.size, 0);
});

test("the embedded model is copied whole", async () => {
  const checkpoint = await openCheckpoint(MODEL);
  assert.equal(checkpoint.beside.left, []);
  await checkpoint.close();
});

/** What a run says of a model. */
async function notesOf(
  run: AsyncIterable<{ readonly type: string; readonly where?: string; readonly message?: string }>,
): Promise<string[]> {
  const notes: string[] = [];
  for await (const event of run) {
    if (event.type === "note" && event.where === "model") notes.push(event.message!);
  }
  return notes;
}

const RECIPE = { method: "magnitude", samples: 2, length: 16 } as const;

test("compress and export name what they leave", async ({ dir }) => {
  const model = join(dir, "m");
  await fs.cp(MODEL, model, { recursive: true });
  await fs.mkdir(join(model, "onnx"));
  await fs.writeFile(join(model, "onnx", "model.onnx"), "weights");
  await fs.writeFile(join(model, "optimizer.pt"), "weights");
  const calibration = await fs.readFile(join(MODEL, "calibration.txt"), "utf8");
  const left = [
    "left out, as not known to belong to the model: onnx/model.onnx, optimizer.pt; copy by hand what is needed",
  ];
  const out = memoryOutputFolder();
  assert.equal(await notesOf(compress({ model, out, calibration, recipe: RECIPE })), left);
  const copy = memoryOutputFolder();
  assert.equal(await notesOf(exportModel({ model, out: copy })), left);
  for (const { files } of [out, copy]) {
    assert.ok("README.md" in files && "tokenizer.json" in files);
    assert.equal(
      Object.keys(files).filter((name) => /onnx|optimizer/.test(name)),
      [],
    );
  }
});

/** A test of symbolic links. */
function linkTest(name: string, body: (context: { dir: string }) => Promise<void>): void {
  skipUnless(
    test,
    process.platform !== "win32",
    "Windows lets few users make symbolic links",
    name,
    body,
  );
}

linkTest("links that lead out are not followed when a model is copied", async ({ dir }) => {
  const model = join(dir, "m");
  const secret = join(dir, "secret");
  await fs.cp(MODEL, model, { recursive: true });
  await fs.mkdir(secret);
  await fs.writeFile(join(secret, "tools.jinja"), "secret");
  await fs.symlink(join(secret, "tools.jinja"), join(model, "LICENSE"));
  await fs.symlink(secret, join(model, "additional_chat_templates"));
  await fs.symlink(join(dir, "nothing"), join(model, "NOTICE"));
  await fs.symlink("README.md", join(model, "CARD.md"));
  const out = memoryOutputFolder();
  assert.equal(await notesOf(exportModel({ model, out })), [
    "left out, as symbolic links that lead out of the folder: LICENSE, additional_chat_templates/tools.jinja",
  ]);
  const names = Object.keys(out.files);
  assert.ok(names.includes("CARD.md"));
  assert.equal(
    names.filter((name) => /LICENSE|NOTICE|jinja/.test(name)),
    [],
  );
  const config = join(model, "config.json");
  await fs.rename(config, join(secret, "config.json"));
  await fs.symlink(join(secret, "config.json"), config);
  await refused(
    () => exportModel({ model, out: memoryOutputFolder() }).result(),
    /config\.json is a symbolic link to ".*secret\/config\.json", outside the folder.*put the file/,
  );
});

linkTest("links of a snapshot into its cache are followed", async ({ dir }) => {
  const cache = join(dir, "models--org--name");
  const snapshot = join(cache, "snapshots", "abc");
  const blobs = join(cache, "blobs");
  await fs.mkdir(snapshot, { recursive: true });
  await fs.cp(MODEL, blobs, { recursive: true });
  await fs.writeFile(join(dir, "secret"), "secret");
  for (const name of await fs.readdir(blobs)) {
    await fs.symlink(join("..", "..", "blobs", name), join(snapshot, name));
  }
  await fs.symlink(join(dir, "secret"), join(snapshot, "LICENSE"));
  for (const model of [cache, snapshot]) {
    const checkpoint = await openCheckpoint(model);
    assert.equal(checkpoint.beside.copied, [
      "README.md",
      "calibration.txt",
      "config.json",
      "evaluation.txt",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    assert.equal([...checkpoint.beside.links.keys()], ["LICENSE"]);
    await checkpoint.close();
  }
});

linkTest("an output that the links of an input lead to is refused", async ({ dir }) => {
  const [model, store] = [join(dir, "m"), join(dir, "store")];
  await fs.mkdir(join(model, "sub"), { recursive: true });
  await fs.mkdir(join(store, "deep"), { recursive: true });
  await fs.writeFile(join(store, "deep", "w"), "weights");
  await fs.symlink(join(store, "deep", "w"), join(model, "model.safetensors"));
  const lost =
    /it holds .*store\/deep\/w, which the input's symbolic link model\.safetensors leads/;
  for (const out of [store, join(store, "deep"), join(store, "deep", "w")]) {
    await refused(() => refuseOverlap(out, model), lost);
  }
  await refuseOverlap(join(dir, "out"), model);
  await refuseOverlap(join(store, "other"), model);
  await fs.rename(join(model, "model.safetensors"), join(model, "sub", "link"));
  await refused(() => refuseOverlap(store, model), /symbolic link sub\/link leads/);
  await fs.rm(join(model, "sub", "link"));
  await fs.symlink(store, join(model, "sub", "folder"));
  await refused(() => refuseOverlap(store, model), /symbolic link sub\/folder leads/);
  const work = exportModel({ model: MODEL, out: store, force: true });
  await work.result();
  assert.ok((await fs.readdir(store)).includes("model.safetensors"));
});

test.run();
