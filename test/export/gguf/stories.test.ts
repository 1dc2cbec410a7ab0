// The embedded model as GGUF: its codes, factors and rotations, several files, what a file had before.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Checkpoint, openCheckpoint } from "../../../src/checkpoint/checkpoint.js";
import { fromFloat32, toFloat32 } from "../../../src/checkpoint/dtype.js";
import { loadTokenizer } from "../../../src/checkpoint/tokenizer.js";
import { decodeLeaf } from "../../../src/forms/leaf.js";
import { memoryFolder } from "../../../src/platform/files.js";
import type { TensorData } from "../../../src/tensor.js";
import { refused } from "../../checkpoint/crafted.js";
import { tinyGguf } from "../../checkpoint/gguf/models.js";
import { type Typed, writeGguf } from "../../checkpoint/gguf/writer.js";
import {
  compressFiles,
  type Files,
  floats,
  parseWeights,
  type Stored,
  storyFiles,
  withWeights,
} from "../../compress/stories.js";
import { ARMOR, exportFiles } from "../../exported.js";
import { openFiles, tinyTokenizer } from "../../models/tiny-model.js";
import { type Exported, exportGguf, openExported } from "./exported.js";

const test = suite("stories as GGUF");
const open = (files: Files): Promise<Checkpoint> => openCheckpoint(memoryFolder(files, "model"));
const stories = await open(storyFiles());

test("ids and the config are read back", async () => {
  const { found, notes } = await there(stories, { ggufType: "BF16" });
  assert.equal(notes, []);
  const [own, made] = [await loadTokenizer(stories.folder), await loadTokenizer(found.folder)];
  for (const text of ["Once upon a time", "a  b\n\nc <|end|> d", "naïve 12345"]) {
    assert.equal(made.encode(text), own.encode(text));
  }
  const config = found.config as Record<string, unknown>;
  for (const [key, value] of Object.entries(stories.config as Record<string, unknown>)) {
    if (!/bos|rope_scaling|torch_dtype/.test(key)) assert.equal(config[key], value, key);
  }
  for (const name of stories.tensors.keys()) {
    assert.equal(await found.readFloat32(name), await stories.readFloat32(name), name);
  }
});

async function there(model: Checkpoint, options: Parameters<typeof exportGguf>[1]) {
  const exported = await exportGguf(model, options);
  return { ...exported, found: await openExported(exported) };
}

const typesOf = (model: Checkpoint) =>
  Object.fromEntries([...model.tensors.values()].map(({ name, stored }) => [name, stored!.type]));

test("linears, embedding and vectors have their types", async () => {
  const { found, packed } = await there(stories, { ggufType: "q4_0" });
  const types = typesOf(found);
  assert.is(types["model.embed_tokens.weight"], "Q8_0");
  assert.is(types["model.layers.2.mlp.up_proj.weight"], "Q4_0");
  assert.is(types["model.norm.weight"], "F32");
  assert.is(packed, 29);
  const other = await there(stories, { ggufType: "Q5_1", ggufEmbedding: "F16" });
  assert.is(typesOf(other.found)["model.embed_tokens.weight"], "F16");
  assert.is(typesOf((await there(stories, {})).found)["model.layers.0.mlp.up_proj.weight"], "BF16");
});

test("codes of a file that was read are values where no type is asked for, and a note says so", async () => {
  const { found } = await there(stories, { ggufType: "Q4_0" });
  const { found: again, notes } = await there(found, {});
  assert.is(typesOf(again)["model.layers.2.mlp.up_proj.weight"], "F32");
  assert.equal(notes, [
    "28 linears are Q4_0 in the file, and as no type is asked for their values are written as F32, which takes more bytes; `ggufType: Q4_0` makes codes of them anew",
  ]);
  assert.equal((await there(found, { ggufType: "F32" })).notes, []);
});

test("several files are one model", async () => {
  const { files } = await exportGguf(stories, { shardBytes: 500_000 });
  const names = Object.keys(files).sort();
  assert.ok(names.length > 3);
  assert.is(names[1], `model-00002-of-0000${names.length}.gguf`);
  const found = await openExported({ files } as Exported);
  assert.is(found.tensors.size, stories.tensors.size);
  for (const name of stories.tensors.keys()) {
    assert.equal(await found.readFloat32(name), await stories.readFloat32(name), name);
  }
  const again = await exportGguf(found, { ggufType: "BF16" });
  const direct = await exportGguf(stories);
  assert.is(Buffer.compare(dataOf(again.files), dataOf(direct.files)), 0);
});

/** The last bytes of a file, which are those of tensors. */
const dataOf = (files: Files) => Buffer.from(files["model.gguf"]).subarray(-1_800_000);

const stored = (dtype: string, shape: readonly number[], data: ArrayBufferView): Stored => ({
  dtype,
  shape,
  bytes: new Uint8Array(data.buffer as ArrayBuffer),
});

/** A matrix in codes of 4 bits, 32 of which share a half as their scale. */
function inFourBits(name: string, tensor: Stored, symmetric: boolean) {
  const [rows, cols] = tensor.shape;
  const values = floats(tensor);
  const wide = Float32Array.from({ length: values.length / 32 }, (_, group) => {
    const own = values.subarray(32 * group, 32 * group + 32);
    return own.reduce((most, one) => Math.max(most, Math.abs(one)), 0) / 7.5;
  });
  const halves = fromFloat32("F16", wide);
  const scales = toFloat32({ name, dtype: "F16" }, halves);
  const zeros = Uint8Array.from({ length: wide.length }, (_, group) => 5 + (group % 6));
  const codes = Uint8Array.from(values, (value, i) => {
    const middle = symmetric ? 8 : zeros[i >> 5];
    return Math.min(15, Math.max(0, Math.round(value / scales[i >> 5]) + middle));
  });
  const parts = new Map<string, TensorData>([
    ["values", codes],
    ["scales", scales],
    ...(symmetric ? [] : ([["zeros", zeros]] as const)),
  ]);
  const numbers = { kind: "grid", bits: 4, groupSize: 32, symmetric } as const;
  const structure = { kind: "dense" } as const;
  const leaf = { kind: "leaf", shape: [rows, cols], structure, numbers } as const;
  const shape = [rows, cols / 32];
  const tensors = new Map<string, Stored>([
    [`${name}.values`, stored("U8", [rows, cols], codes)],
    [`${name}.scales`, stored("F16", shape, halves)],
    ...(symmetric ? [] : ([[`${name}.zeros`, stored("U8", shape, zeros)]] as const)),
  ]);
  const names = Object.fromEntries([...parts.keys()].map((part) => [part, `${name}.${part}`]));
  return { tensors, form: { ...leaf, parts: names }, decoded: decodeLeaf({ ...leaf, parts }) };
}

async function quantized(symmetric: boolean) {
  const held = new Map<string, Stored>();
  const forms: Record<string, unknown> = {};
  const decoded = new Map<string, Float32Array>();
  for (const [name, tensor] of parseWeights(storyFiles()).tensors) {
    if (!name.endsWith("_proj.weight")) {
      held.set(name, tensor);
      continue;
    }
    const made = inFourBits(name, tensor, symmetric);
    for (const [part, bytes] of made.tensors) held.set(part, bytes);
    forms[name] = made.form;
    decoded.set(name, made.decoded);
  }
  const files = await withWeights(storyFiles(), held);
  const side = new TextEncoder().encode(JSON.stringify({ forms }));
  return { model: await open({ ...files, "penjing.json": side }), decoded };
}

test("codes of 4 bits are carried over exactly, queries and keys in the order of pairs", async () => {
  const { model, decoded } = await quantized(true);
  for (const ggufType of ["Q4_0", "Q5_0", "Q8_0"]) {
    const { found } = await there(model, { ggufType });
    for (const [name, values] of decoded) {
      const read = await found.readFloat32(name);
      // The sign of a zero is not kept.
      assert.ok(
        read.every((one, i) => one === values[i]),
        `${ggufType}: ${name}`,
      );
    }
  }
});

test("codes that a quantizer made and packed are carried over exactly", async () => {
  for (const [bits, ggufType] of [
    [3, "Q4_0"],
    [4, "Q4_0"],
    [5, "Q5_0"],
  ] as const) {
    const options = { weighted: false, bits };
    const { files } = await compressFiles(storyFiles(), { method: "rtn", options });
    const plain = await open((await exportFiles(files, { layout: "dense" })).files);
    assert.ok(plain.tensors.has("model.layers.0.mlp.up_proj.weight_packed"));
    const { found } = await there(await open(files), { ggufType });
    const again = await there(await open(files), { ggufType: "F32" });
    for (const name of again.found.tensors.keys()) {
      if (!name.endsWith("_proj.weight")) continue;
      const [read, own] = [await found.readFloat32(name), await again.found.readFloat32(name)];
      // F32 is made of values that were rounded to the model's bf16.
      assert.ok(
        read.every((one, i) => Math.abs(one - own[i]) <= 2 ** -8 * Math.abs(own[i])),
        `${ggufType}: ${name}`,
      );
    }
  }
});

test("codes with zero points become those of Q4_1", async () => {
  const { model, decoded } = await quantized(false);
  const { found } = await there(model, { ggufType: "Q4_1" });
  for (const [name, values] of decoded) {
    const most = values.reduce((one, other) => Math.max(one, Math.abs(other)), 0);
    const read = await found.readFloat32(name);
    const worst = read.reduce((one, value, i) => Math.max(one, Math.abs(value - values[i])), 0);
    assert.ok(worst > 0 && worst <= 2 * most * 2 ** -11, `${name}: ${worst} of ${most}`);
  }
});

test("factors and rotations are multiplied out as for a plain checkpoint", async () => {
  const recipe = { ...ARMOR, rotate: { scope: "groups:2", steps: 3 } };
  const { files } = await compressFiles(storyFiles(), recipe);
  const plain = await open((await exportFiles(files, { reconstruct: true })).files);
  const { found } = await there(await open(files), { ggufType: "BF16" });
  assert.equal([...found.tensors.keys()].sort(), [...plain.tensors.keys()].sort());
  for (const name of plain.tensors.keys()) {
    assert.equal(await found.readFloat32(name), await plain.readFloat32(name), name);
  }
});

test("packed weights are unpacked", async () => {
  const { files } = await compressFiles(storyFiles(), { layout: "two-four" });
  const dense = await open((await exportFiles(files, { layout: "dense" })).files);
  const { found } = await there(await open(files), { ggufType: "F16" });
  const name = "model.layers.1.self_attn.k_proj.weight";
  const zeros = (values: Float32Array) => values.filter((value) => value === 0).length;
  const [read, own] = [await found.readFloat32(name), await dense.readFloat32(name)];
  assert.ok(zeros(read) >= read.length / 2 && zeros(own) >= read.length / 2);
  assert.ok(read.every((value, i) => Math.abs(value - own[i]) <= 2 ** -10));
});

test("what a GGUF file said of itself and its tokenizer is kept", async () => {
  const { written } = await tinyGguf({ hidden_size: 64, intermediate_size: 96 });
  const own: Record<string, Typed> = {
    ...(written.keys as Record<string, Typed>),
    "general.author": ["string", "somebody"],
    "general.file_type": ["u32", 15],
    "tokenizer.ggml.pre": ["string", "olmo"],
    "tokenizer.ggml.padding_token_id": ["u32", 1],
    "tokenizer.chat_template": ["string", "{{ messages[0].content }}"],
  };
  const file = writeGguf({ ...written, keys: own });
  const given = await openCheckpoint(memoryFolder({ "m.gguf": file }));
  const { files, found } = await there(given, { ggufType: "F16" });
  const text = new TextDecoder("latin1").decode(files["model.gguf"]);
  for (const said of ["general.author", "somebody", "olmo", "messages[0].content"]) {
    assert.ok(text.includes(said), said);
  }
  assert.equal(found.config, given.config);
});

const REFUSED: readonly (readonly [string, Parameters<typeof exportGguf>[1], RegExp])[] = [
  [
    "an unknown type",
    { ggufType: "Q4_2" },
    /\[ggufType\] "Q4_2" is not a type .*did you mean "Q4_/,
  ],
  ["a type that is only read", { ggufEmbedding: "Q3_K" }, /\[ggufEmbedding\] "Q3_K" is not a type/],
  [
    "a mixture for a table",
    { ggufEmbedding: "Q4_K_M" },
    /\[ggufEmbedding\] "Q4_K_M" is not a type/,
  ],
  [
    "a type without the layout",
    { ggufType: "F16", layout: "dense" },
    /\[ggufType\] it is about GGUF files, but the layout is dense; give `layout: "gguf"`/,
  ],
  ["too small parts", { shardBytes: 0 }, /\[shardBytes\] it must be a positive number/],
];

for (const [what, options, message] of REFUSED) {
  test(`${what}: refused in a sentence`, async () => {
    await refused(() => exportGguf(stories, options), message);
  });
}

const TOKENIZERS: readonly (readonly [string, object, RegExp])[] = [
  ["words split in a new way", { pre: { type: "Whitespace" } }, /none that llama\.cpp has a name/],
  ["more tokens than rows", { more: 2000 }, /it has 2000 tokens, but the embedding only 1024 rows/],
  [
    "tokens around a text that no key says",
    {
      post: {
        type: "TemplateProcessing",
        single: ["ab", "cd"].map((id) => ({ SpecialToken: { id, type_id: 0 } })),
        pair: [],
        special_tokens: Object.fromEntries(
          ["ab", "cd"].map((id, i) => [id, { id, ids: [i + 70], tokens: [id] }]),
        ),
      },
    },
    /it puts the tokens 70, 71 around a text, which a GGUF file cannot say/,
  ],
];

for (const [what, changes, message] of TOKENIZERS) {
  test(`${what}: refused before any work`, async () => {
    const { pre, more = 0, post } = changes as { pre?: object; more?: number; post?: object };
    const files = storyFiles();
    const tokenizer = JSON.parse(new TextDecoder().decode(files["tokenizer.json"]));
    if (pre) tokenizer.pre_tokenizer = { type: "Sequence", pretokenizers: [pre, BYTES] };
    if (post) {
      const { single } = post as { single: { SpecialToken: object; Sequence?: object }[] };
      single.splice(1, 0, { Sequence: { id: "A", type_id: 0 } } as never);
      tokenizer.post_processor = post;
    }
    if (more > 0) tokenizer.model.vocab.last = more - 1;
    const text = new TextEncoder().encode(JSON.stringify(tokenizer));
    await refused(
      async () => exportGguf(await open({ ...files, "tokenizer.json": text })),
      message,
    );
  });
}

const BYTES = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };

test("a tokenizer of another kind is refused by name, and a name given for words is taken", async () => {
  const files = { ...storyFiles(), ...tinyTokenizer() };
  await refused(
    async () => exportGguf(await openFiles(files)),
    /neither one of byte pairs .* nor one like SentencePiece's/,
  );
  const named = await exportGguf(stories, { ggufPre: "starcoder" });
  const text = new TextDecoder("latin1").decode(named.files["model.gguf"]);
  assert.ok(text.includes("starcoder"));
});

test("a name given for words that is not known to fit is noted", async () => {
  const notesOf = async (ggufPre: string) => (await exportGguf(stories, { ggufPre })).notes.join();
  assert.match(
    await notesOf("llama-bpe"),
    /"llama-bpe" splits text otherwise than tokenizer\.json/,
  );
  assert.match(await notesOf("nonsense"), /"nonsense" is not known here, .* only if it knows it/);
  assert.is(await notesOf("gpt-2"), "");
});

test("values that halves do not hold are refused by name", async () => {
  const weights = new Map(parseWeights(storyFiles()).tensors);
  const name = "model.layers.1.mlp.up_proj.weight";
  const { shape } = weights.get(name)!;
  const values = new Float32Array(shape[0] * shape[1]).fill(1e6);
  weights.set(name, { dtype: "F32", shape, bytes: new Uint8Array(values.buffer) });
  const model = await open(await withWeights(storyFiles(), weights));
  const message = /up_proj\.weight: it holds 1000000, too large for the halves .* F32 or BF16/;
  for (const ggufType of ["F16", "Q4_0"])
    await refused(() => exportGguf(model, { ggufType }), message);
  await exportGguf(model, { ggufType: "BF16" });
});

test.run();
