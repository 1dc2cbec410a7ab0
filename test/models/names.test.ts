import { suite } from "uvu";
import * as assert from "uvu/assert";
import { backends } from "../../src/backends/index.js";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { compress } from "../../src/compress.js";
import { exportModel } from "../../src/export.js";
import { loadDecoder } from "../../src/models/open.js";
import { readModel } from "../../src/models/stored.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { refused } from "../checkpoint/crafted.js";
import { type Config, type StoredTensor, tinyCheckpoint, tinyTensor } from "./tiny.js";

const test = suite("names of tensors");

type Tensors = Map<string, StoredTensor>;
const HEAD = "lm_head.weight";
const EMBEDDING = "model.embed_tokens.weight";

/** Gives every tensor another name; undefined drops it. */
function renamed(tensors: Tensors, rename: (name: string) => string | undefined): void {
  const all = [...tensors.values()];
  tensors.clear();
  for (const { entry, bytes } of all) {
    const name = rename(entry.name);
    if (name !== undefined) tensors.set(name, { entry: { ...entry, name }, bytes });
  }
}

async function logitsOf(config: Config, edit: (tensors: Tensors) => void): Promise<number[]> {
  const backend = await backends.reference();
  const model = readModel(await tinyCheckpoint(config, edit));
  const decoder = await loadDecoder(model, backend, 2);
  const out = backend.zeros([2, 10]);
  decoder.logits(Int32Array.of(4, 5), out);
  const logits = (await backend.read(out)) as Float32Array;
  backend.dispose();
  return [...logits];
}

const TIED = { tie_word_embeddings: true };

const PREFIXES: readonly (readonly [
  what: string,
  config: Config,
  rename: (n: string) => string,
])[] = [
  ["a language model in a larger one", {}, (name) => `language_model.${name}`],
  ["a compiled model", {}, (name) => `_orig_mod.${name}`],
  ["a model in two wrappers", {}, (name) => `module.base_model.${name}`],
  ["the head outside", {}, (name) => (name === HEAD ? name : name.replace(/^model/, "m.model"))],
  ["another base", {}, (name) => name.replace(/^model\./, "transformer.")],
  ["no base", {}, (name) => name.replace(/^model\./, "")],
  ["a tied model without its base", TIED, (name) => name.replace(/^model\./, "")],
];

for (const [what, config, rename] of PREFIXES) {
  test(`${what}: what stands before the names is found`, async () => {
    const expected = await logitsOf(config, () => {});
    assert.equal(await logitsOf(config, (tensors) => renamed(tensors, rename)), expected);
    const { checkpoint } = readModel(
      await tinyCheckpoint(config, (tensors) => renamed(tensors, rename)),
    );
    assert.is(checkpoint.notes.length, 1);
    assert.match(checkpoint.notes[0], /^the tensors' names /);
  });
}

test("a good model has no notes", async () => {
  assert.equal(readModel(await tinyCheckpoint()).checkpoint.notes, []);
});

test("a copy has the plain names, and the run says so", async () => {
  const checkpoint = await tinyCheckpoint({}, (tensors) =>
    renamed(tensors, (name) => `_orig_mod.${name}`),
  );
  const out = memoryOutputFolder();
  const notes: string[] = [];
  for await (const event of exportModel({ model: checkpoint, out, backend: "reference" })) {
    if (event.type === "note") notes.push(`${event.where}: ${event.message}`);
  }
  assert.equal(notes, [
    'model: the tensors\' names begin with "_orig_mod.model." in place of "model.", which is read instead',
  ]);
  const copy = await openCheckpoint(memoryFolder(out.files));
  const plain = await tinyCheckpoint();
  assert.equal([...copy.tensors.keys()].sort(), [...plain.tensors.keys()].sort());
  for (const name of plain.tensors.keys()) {
    assert.equal(await copy.read(name), await plain.read(name));
  }
});

const WRONG: readonly (readonly [what: string, edit: (tensors: Tensors) => void, RegExp])[] = [
  [
    "a classifier",
    (tensors) => {
      tensors.delete(HEAD);
      tensors.set("score.weight", tinyTensor("score.weight", [2, 8]));
    },
    /\[tiny\] it is a classifier: it has "score\.weight" and no head.*give the language model/,
  ],
  [
    "no head",
    (tensors) => tensors.delete(HEAD),
    /lm_head\.weight is missing: .*set tie_word_embeddings to true.*or fetch the whole model/,
  ],
  [
    "an adapter",
    (tensors) =>
      renamed(tensors, (name) => `base_model.model.${name.replace("weight", "lora_A.weight")}`),
    /it is a LoRA adapter.*merge it/,
  ],
  [
    "Meta's own names",
    (tensors) =>
      renamed(tensors, (name) =>
        name
          .replace("model.", "")
          .replace("self_attn.q_proj", "attention.wq")
          .replace("lm_head", "output"),
      ),
    /the publisher's original format; download the version for transformers/,
  ],
  [
    "two models in one",
    (tensors) => {
      for (const { entry, bytes } of [...tensors.values()]) {
        tensors.set(`b.${entry.name}`, { entry: { ...entry, name: `b.${entry.name}` }, bytes });
      }
    },
    /b\.model\..* is not part of a llama model of 2 layers/,
  ],
  [
    "something beside the language model",
    (tensors) => {
      renamed(tensors, (name) => `language_model.${name}`);
      tensors.set("vision.patch.weight", tinyTensor("vision.patch.weight", [2, 2]));
    },
    /vision\.patch\.weight is not part of/,
  ],
];

for (const [what, edit, message] of WRONG) {
  test(`${what}: refused with the cure`, async () => {
    const checkpoint = await tinyCheckpoint({}, edit);
    await refused(() => readModel(checkpoint), message);
  });
}

test("a family under architectures alone can be compressed", async () => {
  const checkpoint = await tinyCheckpoint({}, () => {});
  const { model_type: _, ...rest } = checkpoint.config as Config;
  const config = { ...rest, architectures: ["LlamaForCausalLM"] };
  const work = compress({
    model: { ...checkpoint, config },
    out: memoryOutputFolder(),
    calibration: "text",
    backend: "reference",
    recipe: { method: "magnitude", length: 16 },
  });
  // All that stands in the way is the tokenizer, which the tiny model does not have.
  await refused(() => work.result(), /no tokenizer\.json/);
});

test("an embedding under both names of a tied model stays one", async () => {
  const both = (tensors: Tensors) => {
    const { bytes } = tensors.get(EMBEDDING)!;
    tensors.set(HEAD, tinyTensor(HEAD, [10, 8], "F32", bytes));
    renamed(tensors, (name) => `m.${name}`);
  };
  assert.equal(await logitsOf(TIED, both), await logitsOf(TIED, () => {}));
});

test.run();
