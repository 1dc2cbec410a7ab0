import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CAST_DTYPES } from "../../../src/checkpoint/cast.js";
import { type Checkpoint, openCheckpoint } from "../../../src/checkpoint/checkpoint.js";
import { fromFloat32 } from "../../../src/checkpoint/dtype.js";
import { compress } from "../../../src/compress.js";
import { PenjingError } from "../../../src/errors.js";
import { evaluatePerplexity } from "../../../src/evaluate.js";
import { generate } from "../../../src/generate.js";
import { inspect } from "../../../src/inspect.js";
import { readModelConfig } from "../../../src/models/families/index.js";
import { type Folder, memoryFolder, memoryOutputFolder } from "../../../src/platform/files.js";
import type { Config } from "../../models/tiny.js";
import { inParts, tinyFile, tinyGguf } from "./models.js";
import { TYPE, type Typed, writeGguf } from "./writer.js";

const test = suite("GGUF as a checkpoint");
const NAME = "tiny.gguf";

/** What a call is refused with. */
async function refusal(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => undefined,
    (reason) => reason,
  );
  assert.instance(error, PenjingError);
  return error.message;
}

async function open(file: Uint8Array, name = NAME): Promise<Checkpoint> {
  return openCheckpoint(memoryFolder({ [name]: file }));
}

const CONFIGS: readonly Config[] = [
  {},
  { tie_word_embeddings: true },
  { attention_bias: true, mlp_bias: true, num_key_value_heads: 2, head_dim: 6 },
  { model_type: "mistral", sliding_window: 4 },
  { model_type: "qwen2" },
  { model_type: "qwen3", head_dim: 6 },
];

for (const config of CONFIGS) {
  test(`a model of ${JSON.stringify(config)} is the one that it was made from`, async () => {
    const { checkpoint, written } = await tinyGguf(config);
    const found = await open(writeGguf(written));
    assert.equal([...found.tensors.keys()], [...checkpoint.tensors.keys()]);
    for (const [name, { shape }] of checkpoint.tensors) {
      assert.equal(found.tensors.get(name)?.shape, shape);
      assert.equal(await found.read(name), await checkpoint.read(name), name);
    }
    const spec = readModelConfig("made", found.config);
    const expected = readModelConfig("given", checkpoint.config);
    assert.equal({ ...spec, bosIds: [], eosIds: [] }, expected);
    assert.equal([spec.bosIds, spec.eosIds], [[0], [1]]);
  });
}

test("any range of a tensor is that part of it", async () => {
  const { checkpoint, written } = await tinyGguf();
  const found = await open(writeGguf(written));
  for (const name of ["model.layers.1.self_attn.q_proj.weight", "model.norm.weight"]) {
    const whole = await checkpoint.read(name);
    for (let start = 0; start < whole.length; start += 7) {
      for (const length of [0, 1, 4, 30, whole.length - start]) {
        if (start + length > whole.length) continue;
        const part = await found.readRange(name, start, length);
        assert.equal(part, whole.slice(start, start + length), `${name} ${start} ${length}`);
      }
    }
    assert.match(
      await refusal(found.readRange(name, 1, whole.length)),
      /are not inside the tensor/,
    );
  }
  const run = ["model.norm.weight", "model.layers.0.input_layernorm.weight"];
  const parts = await Promise.all(run.map((name) => checkpoint.read(name)));
  assert.equal(await found.readRun(run), Uint8Array.from(parts.flatMap((part) => [...part])));
});

test("floats are given as they are stored, quantized types as F32", async () => {
  const bytes = (length: number) => Uint8Array.from({ length }, (_, i) => i % 50);
  const tensors = [
    { name: "a", shape: [4], type: TYPE.F16, bytes: bytes(8) },
    { name: "b", shape: [2, 3], type: TYPE.BF16, bytes: bytes(12) },
    { name: "c", shape: [2, 32], type: TYPE.Q8_0, bytes: bytes(68) },
    { name: "d", shape: [], type: TYPE.F32, bytes: bytes(4) },
    { name: "e", shape: [0, 32], type: TYPE.Q4_0, bytes: bytes(0) },
  ];
  const found = await open(writeGguf({ keys: {}, tensors }));
  const told = [...found.tensors.values()].map((one) => [
    ...[one.name, one.dtype, one.shape, one.byteLength, one.stored?.type, one.stored?.byteLength],
  ]);
  assert.equal(told, [
    ["a", "F16", [4], 8, "F16", 8],
    ["b", "BF16", [2, 3], 12, "BF16", 12],
    ["c", "F32", [2, 32], 256, "Q8_0", 68],
    ["d", "F32", [], 4, "F32", 4],
    ["e", "F32", [0, 32], 0, "Q4_0", 0],
  ]);
  const { tensors: reports, bytes: total } = await inspect(found).result();
  assert.equal(reports[2].storedAs, "Q8_0");
  assert.is(total, 8 + 12 + 68 + 4);
  assert.equal(found.origin?.types, { F16: 1, BF16: 1, Q8_0: 1, F32: 1, Q4_0: 1 });
});

test("it is scored, it writes and it is compressed as the model that it was made from", async () => {
  const { checkpoint, written } = await tinyGguf();
  const model = await open(writeGguf(written));
  const text = "abc cab abc cab cab abcc ab ".repeat(4);
  const { perplexity } = await evaluatePerplexity({ model, text, window: 8 }).result();
  assert.ok(perplexity > 1);
  const { ids } = await generate({ model, prompt: "abc", maxNewTokens: 3 }).result();
  assert.is(ids.length, 3);
  const out = async (given: Checkpoint, dtype?: "f32" | "f16" | "bf16") => {
    const folder = memoryOutputFolder();
    const recipe = { method: "magnitude", sparsity: "50%" };
    await compress({ model: given, out: folder, recipe, dtype, backend: "reference" }).result();
    return openCheckpoint(memoryFolder(folder.files));
  };
  const same = await out(model, "f32");
  const other = await out(checkpoint);
  for (const name of checkpoint.tensors.keys()) {
    assert.equal(await same.read(name), await other.read(name), name);
  }
  for (const dtype of [undefined, ...CAST_DTYPES]) {
    const cast = await out(model, dtype);
    const wanted = (dtype ?? "bf16").toUpperCase();
    for (const { name, dtype: found } of cast.tensors.values()) assert.is(found, wanted, name);
    const given = await checkpoint.readFloat32("model.norm.weight");
    assert.equal(await cast.read("model.norm.weight"), fromFloat32(wanted, given));
    const { torch_dtype } = cast.config as Record<string, unknown>;
    assert.is(torch_dtype, { F32: "float32", F16: "float16", BF16: "bfloat16" }[wanted]);
    const side = JSON.parse(await cast.folder.readText("penjing.json", 1e6));
    assert.equal(side.source, { format: "gguf", files: [NAME], types: { F32: 21 } });
    assert.ok(await cast.folder.has("tokenizer.json"));
  }
});

test("a safetensors model is written in another dtype when one is given", async () => {
  const { checkpoint } = await tinyGguf({ tie_word_embeddings: true });
  const { model: folder } = { model: checkpoint.folder };
  const files: Record<string, Uint8Array | string> = {};
  for (const name of await folder.list()) {
    const source = await folder.open(name);
    files[name] = await source.read(0, source.size);
  }
  const model = await openCheckpoint(memoryFolder({ ...files, "tokenizer.json": "{}" }));
  const out = memoryOutputFolder();
  const recipe = { method: "magnitude", layout: "two-four" };
  await compress({ model, out, recipe, dtype: "bf16" }).result();
  const made = await openCheckpoint(memoryFolder(out.files));
  const dtypes = new Set([...made.tensors.values()].map(({ dtype }) => dtype));
  assert.equal([...dtypes].sort(), ["BF16", "U8"]);
  const again = compress({ model: made, out: memoryOutputFolder(), recipe, dtype: "f32" });
  assert.match(await refusal(again.result()), /stored packed/);
});

test("what f16 cannot hold is refused", async () => {
  const { written } = await tinyGguf();
  const tensors = written.tensors!.map((one) =>
    one.name === "output_norm.weight"
      ? { ...one, bytes: new Uint8Array(new Float32Array(8).fill(70000).buffer) }
      : one,
  );
  const model = await open(writeGguf({ ...written, tensors }));
  const recipe = { method: "magnitude" };
  const work = compress({ model, out: memoryOutputFolder(), recipe, dtype: "f16" });
  assert.match(
    await refusal(work.result()),
    /"model.norm.weight" holds 70000, and f16 ends at 65504/,
  );
});

test("a tokenizer of another folder is taken in the place of the model's", async () => {
  const { written } = await tinyGguf();
  const keys = { ...(written.keys as Record<string, Typed>) };
  keys["tokenizer.ggml.pre"] = ["string", "no-such"];
  const model = await open(writeGguf({ ...written, keys }));
  const right = await open(writeGguf(written));
  const { ids } = await generate({ model: right, prompt: "abc", maxNewTokens: 3 }).result();
  const options = { model, prompt: "abc", maxNewTokens: 3 };
  assert.match(
    await refusal(generate(options).result()),
    /its pre-tokenizer is "no-such".*as `tokenizer`/,
  );
  const empty = memoryFolder({ "config.json": "{}" }, "empty");
  assert.match(
    await refusal(generate({ ...options, tokenizer: empty }).result()),
    /^\[tokenizer\] "empty" has no tokenizer\.json; give the folder/,
  );
  const tokenizer = right.folder;
  const found = await generate({ ...options, tokenizer }).result();
  assert.equal(found.ids, ids);
  const out = memoryOutputFolder();
  await compress({ model, out, recipe: { method: "magnitude" }, tokenizer }).result();
  assert.is(
    new TextDecoder().decode(out.files["tokenizer.json"] as Uint8Array),
    await tokenizer.readText("tokenizer.json", 1e6),
  );
});

test("scales that are no numbers are refused when the model is loaded", async () => {
  const { written } = await tinyGguf({ hidden_size: 32 });
  const [nan, infinite] = [0x7e00, 0x7c00];
  for (const scale of [nan, infinite]) {
    const tensors = written.tensors!.map((one) => {
      if (one.name !== "blk.1.ffn_up.weight") return one;
      const block = Uint8Array.from([scale & 255, scale >> 8, ...Array(32).fill(1)]);
      const bytes = Uint8Array.from({ length: 12 * 34 }, (_, i) => block[i % 34]);
      return { ...one, type: TYPE.Q8_0, bytes };
    });
    const model = await open(writeGguf({ ...written, tensors }));
    const message = await refusal(generate({ model, prompt: "a" }).result());
    assert.match(message, /model\.layers\.1\.mlp\.up_proj\.weight.*(NaN|infinit)/);
  }
});

test("only what is asked for is read", async () => {
  const large = { name: "a", shape: [2 ** 20], type: TYPE.F32, bytes: new Uint8Array(2 ** 22) };
  const folder = memoryFolder({ [NAME]: writeGguf({ keys: {}, tensors: [large] }) });
  let read = 0;
  const watched: Folder = {
    ...folder,
    async open(name) {
      const source = await folder.open(name);
      return {
        ...source,
        read(offset, length) {
          read += length;
          return source.read(offset, length);
        },
      };
    },
  };
  const model = await openCheckpoint(watched);
  assert.ok(read <= 2 ** 18, `${read} bytes`);
  read = 0;
  await model.readRange("a", 400, 100);
  assert.is(read, 100);
});

test("a model in several files is one, and what is missing is named", async () => {
  const { checkpoint, written } = await tinyGguf();
  const parts = inParts(written, "m");
  const found = await openCheckpoint(memoryFolder(Object.fromEntries(parts)));
  assert.equal([...found.tensors.keys()].sort(), [...checkpoint.tensors.keys()].sort());
  for (const name of checkpoint.tensors.keys()) {
    assert.equal(await found.read(name), await checkpoint.read(name), name);
  }
  readModelConfig("made", found.config);
  const refused = async (files: Record<string, Uint8Array>, message: RegExp) => {
    assert.match(await refusal(openCheckpoint(memoryFolder(files))), message);
  };
  await refused(
    Object.fromEntries([parts[0], parts[2]]),
    /split into 3 files, of which 1 are missing: m-00002-of-00003\.gguf; download/,
  );
  const [[first, a], [second, b], [third, c]] = parts;
  await refused(
    { [first]: a, [second]: c, [third]: b },
    /part 3 of 3, .* by its name it is part 2/,
  );
  await refused({ "m.gguf": a }, /part 1 of 3, .* by its name it is part 1 of 1; give the parts/);
  await refused({ [first]: a, [second]: b, [third]: c, "x.gguf": a }, /several GGUF files/);
});

test("a family that is not known can be looked at, and is refused by name", async () => {
  const { written } = await tinyGguf();
  const keys: Record<string, Typed> = { ...(written.keys as Record<string, Typed>) };
  keys["general.architecture"] = ["string", "mamba"];
  const model = await open(writeGguf({ ...written, keys }));
  const { tensors } = await inspect(model).result();
  assert.ok(tensors.some(({ name }) => name === "blk.0.attn_q.weight"));
  const work = generate({ model, prompt: "a" });
  assert.match(
    await refusal(work.result()),
    /architecture "mamba", which is not supported .* one of gemma3, .*qwen3/,
  );
});

test("the file alone, and a folder that holds it, are the same model", async () => {
  const file = await tinyFile();
  const found = await openCheckpoint(memoryFolder({ "README.md": "x", [NAME]: file }));
  assert.equal(found.beside.copied, ["config.json", "tokenizer.json", "tokenizer_config.json"]);
  // Also where an output lies in a folder below.
  const below = { [NAME]: file, "out/model.safetensors": new Uint8Array(9) };
  assert.is((await openCheckpoint(memoryFolder(below))).tensors.size, found.tensors.size);
  assert.equal(await found.folder.list(), [...found.beside.copied]);
  assert.ok(!(await found.folder.has("README.md")));
});

test.run();
