import { suite } from "uvu";
import * as assert from "uvu/assert";
import { backends } from "../../../src/backends/index.js";
import { type Checkpoint, openCheckpoint } from "../../../src/checkpoint/checkpoint.js";
import { fromFloat32 } from "../../../src/checkpoint/dtype.js";
import { compress } from "../../../src/compress.js";
import { PenjingError } from "../../../src/errors.js";
import type { DecoderSpec, LayerSpec } from "../../../src/model.js";
import { readModelConfig } from "../../../src/models/families/index.js";
import { memoryFolder, memoryOutputFolder } from "../../../src/platform/files.js";
import { gapOf, logitsOf, openFiles, tinyFiles, tinyGolden } from "../../models/tiny-model.js";
import { note } from "../../shared.js";
import { CONVERTERS, convert, GRANITE_4 } from "./families.js";
import { TYPE, type Typed, type Written, type WrittenTensor, writeGguf } from "./writer.js";

const test = suite("families of GGUF");

/** Largest accepted |difference| as a share of the largest golden logit. */
const TOLERANCE = 2e-5;
const gaps: string[] = [];

function withLayers(
  spec: DecoderSpec,
  edit: (layer: LayerSpec, block: number) => LayerSpec,
): DecoderSpec {
  const blocks = spec.blocks.map((block, index) => ({
    ...block,
    branches: block.branches.map((branch) => ({ ...branch, layer: edit(branch.layer, index) })),
  }));
  return { ...spec, blocks };
}

/** What the small model has that no key can say. */
const EDITS: Readonly<Record<string, (spec: DecoderSpec) => DecoderSpec>> = {
  // Another factor of scores than the width of a head gives; embeddings are scaled in bf16.
  gemma3_text: (spec) => ({
    ...withLayers(spec, (layer) =>
      layer.kind === "attention" ? { ...layer, scale: 1 / 3 } : layer,
    ),
    embeddingScale: 8.9375,
  }),
  // Its second layer is the one that positions do not rotate.
  smollm3: (spec) =>
    withLayers(spec, (layer, block) =>
      layer.kind === "attention" && block === 1 ? { ...layer, rope: undefined } : layer,
    ),
};

async function written(family: string): Promise<{ given: Checkpoint; file: Written }> {
  const given = await openFiles(tinyFiles(family));
  return { given, file: await convert(given, CONVERTERS[family]) };
}

function open(file: Written): Promise<Checkpoint> {
  return openCheckpoint(memoryFolder({ "tiny.gguf": writeGguf(file) }));
}

/** The file with other keys. */
function withKeys(file: Written, keys: Readonly<Record<string, Typed>>): Written {
  return { ...file, keys: { ...(file.keys as Record<string, Typed>), ...keys } };
}

async function configOf(file: Written): Promise<Record<string, unknown>> {
  return (await open(file)).config as Record<string, unknown>;
}

async function refusal(file: Written): Promise<string> {
  const model = await open(file);
  try {
    void model.config;
  } catch (error) {
    assert.instance(error, PenjingError);
    return (error as PenjingError).message;
  }
  return assert.unreachable("it was read") as never;
}

async function openRefusal(file: Written): Promise<string> {
  const error = await open(file).then(
    () => undefined,
    (reason) => reason,
  );
  assert.instance(error, PenjingError);
  return error.message;
}

for (const family of Object.keys(CONVERTERS)) {
  const edit = EDITS[family] ?? ((spec) => spec);

  test(`${family}: its tensors, its config, and the logits of transformers`, async () => {
    const { given, file } = await written(family);
    const found = await open(file);
    assert.equal([...found.tensors.keys()].sort(), [...given.tensors.keys()].sort());
    for (const { name, shape } of given.tensors.values()) {
      assert.equal(found.tensors.get(name)!.shape, shape, name);
      const [values, expected] = [await found.readFloat32(name), await given.readFloat32(name)];
      // To add 1 and to take it away rounds.
      const gap = family.startsWith("gemma") && name.endsWith("norm.weight") ? 1.2e-7 : 0;
      const most = expected.reduce((now, one, i) => Math.max(now, Math.abs(one - values[i])), 0);
      assert.ok(most <= gap, `${name}: ${most}`);
      const part = await found.readRange(name, 20, 40);
      assert.equal(part, (await found.read(name)).slice(20, 60), name);
    }
    const spec = readModelConfig("made", found.config);
    assert.equal(edit(spec), readModelConfig("given", given.config));
    const { ids, logits } = await tinyGolden(family);
    const backend = await backends.wasm();
    const gap = gapOf(await logitsOf(backend, found, ids, { edit }), logits);
    backend.dispose();
    gaps.push(`${family} ${gap.toExponential(1)}`);
    assert.ok(gap <= TOLERANCE, `the logits differ by ${gap} of the largest`);
  });

  test(`${family}: compressed, it is a folder with the family's own tensors`, async () => {
    const { given, file } = await written(family);
    const out = memoryOutputFolder();
    const recipe = { method: "magnitude", sparsity: "50%" };
    await compress({ model: await open(file), out, recipe, backend: "wasm" }).result();
    const made = await openCheckpoint(memoryFolder(out.files));
    const direct = memoryOutputFolder();
    await compress({ model: given, out: direct, recipe, backend: "wasm" }).result();
    const expected = await openCheckpoint(memoryFolder(direct.files));
    assert.equal([...made.tensors.keys()].sort(), [...expected.tensors.keys()].sort());
    for (const { name, shape, dtype } of expected.tensors.values()) {
      assert.equal(made.tensors.get(name)!.shape, shape, name);
      assert.is(made.tensors.get(name)!.dtype, dtype, name);
      assert.equal(await made.read(name), await expected.read(name), name);
    }
    const { model_type } = made.config as Record<string, unknown>;
    assert.is(model_type, family);
  });

  test(`${family}: a key or a tensor that is not understood is refused by name`, async () => {
    const { file } = await written(family);
    const { arch } = CONVERTERS[family];
    const odd = { [`${arch}.attention.odd_factor`]: ["f32", 0.5] as const };
    assert.match(
      await refusal(withKeys(file, odd)),
      new RegExp(`its key "${arch}\\.attention\\.odd_factor" \\(0\\.5\\) is not understood`),
    );
    const off = { [`${arch}.attention.odd_factor`]: ["f32", 0] as const };
    assert.ok(await configOf(withKeys(file, off)));
    const bytes = new Uint8Array(256);
    const extra = { name: "blk.0.attn_odd.weight", shape: [64], type: TYPE.F32, bytes };
    const model = await open({ ...file, tensors: [...file.tensors!, extra] });
    const backend = await backends.wasm();
    const error = await logitsOf(backend, model, Int32Array.of(1)).then(
      () => undefined,
      (reason) => reason,
    );
    backend.dispose();
    assert.instance(error, PenjingError);
    assert.match(error.message, "blk.0.attn_odd.weight");
  });
}

const PATTERN = "gemma3.attention.sliding_window_pattern";

test("gemma3: each sixth layer is global unless the file says otherwise", async () => {
  const { file } = await written("gemma3_text");
  const { [PATTERN]: _, ...others } = file.keys as Record<string, Typed>;
  const layers = { "gemma3.block_count": ["u32", 7] as const };
  const typesOf = async (keys: Readonly<Record<string, Typed>>) => {
    const { layer_types } = await configOf({ ...file, keys: { ...others, ...layers, ...keys } });
    return (layer_types as string[]).map((type) => type[0]).join("");
  };
  assert.is(await typesOf({}), "sssssfs");
  assert.is(await typesOf({ [PATTERN]: ["u32", 3] }), "ssfssfs");
  assert.is(await typesOf({ "gemma3.attention.sliding_window": ["u32", 0] }), "fffffff");
  const short = { ...layers, [PATTERN]: ["bool", [true, false]] as const };
  assert.match(await refusal(withKeys(file, short)), /must be a list of 7 booleans/);
});

test("gemma3: scores are scaled by the width of a head, those of 27B by the model's", async () => {
  const { file } = await written("gemma3_text");
  assert.is((await configOf(file)).query_pre_attn_scalar, 16);
  const { [PATTERN]: _, ...others } = file.keys as Record<string, Typed>;
  const large = { ...file, keys: { ...others, "gemma3.block_count": ["u32", 62] as const } };
  assert.is((await configOf(large)).query_pre_attn_scalar, 20);
});

test("smollm3: positions do not rotate each fourth layer", async () => {
  const { file } = await written("smollm3");
  const config = await configOf(withKeys(file, { "smollm3.block_count": ["u32", 8] }));
  const isRoped = readModelConfig("made", config).blocks.map(({ branches: [{ layer }] }) =>
    layer.kind === "attention" ? layer.rope !== undefined : undefined,
  );
  const group = [true, true, true, false];
  assert.equal(isRoped, [...group, ...group]);
});

test("granite: scales that no key gives, and positions that do not rotate", async () => {
  const { file } = await written("granite");
  const keys = Object.entries(file.keys as Record<string, Typed>);
  const plain = Object.fromEntries(keys.filter(([key]) => !key.endsWith("scale")));
  const config = await configOf({ ...file, keys: plain });
  assert.equal(
    ["attention", "embedding", "residual"].map((name) => config[`${name}_multiplier`]),
    [1 / 4, 1, 1],
  );
  assert.is(config.logits_scaling, 1);
  const still = { "granite.rope.scaling.finetuned": ["bool", false] as const };
  assert.match(await refusal(withKeys(file, still)), /finetuned" is false, must be true/);
});

test("phi3: LongRoPE needs its factors, and may have another factor of its own", async () => {
  const { file } = await written("phi3");
  const { rope_scaling } = await configOf(file);
  assert.equal(rope_scaling, {
    type: "longrope",
    short_factor: [1, 1.1, 1.3, 1.6, 2, 2.5],
    long_factor: [1, 2, 4, 6, 8, 9],
  });
  const factor = { "phi3.rope.scaling.attn_factor": ["f32", 1.25] as const };
  const { rope_scaling: other } = await configOf(withKeys(file, factor));
  assert.is((other as Record<string, unknown>).attention_factor, 1.25);
  const [short, long] = ["rope_factors_short.weight", "rope_factors_long.weight"];
  const without = (names: readonly string[]) =>
    file.tensors!.filter(({ name }) => !names.includes(name));
  assert.match(
    await refusal({ ...file, tensors: without([long]) }),
    /needs the tensors rope_factors_short\.weight and rope_factors_long\.weight/,
  );
  const plain = Object.entries(file.keys as Record<string, Typed>);
  const keys = Object.fromEntries(plain.filter(([key]) => !/scaling|window/.test(key)));
  const config = await configOf({ ...file, keys, tensors: without([short, long]) });
  assert.equal([config.rope_scaling, config.sliding_window], [undefined, undefined]);
  readModelConfig("made", config);
  const yarn = { "phi3.rope.scaling.type": ["string", "yarn"] as const };
  assert.match(await refusal(withKeys(file, yarn)), /"yarn", must be "none" or "longrope"/);
});

test("olmo2: a window, which OLMo 3 has, is refused", async () => {
  const { file } = await written("olmo2");
  const window = { "olmo2.attention.sliding_window": ["u32", 8] as const };
  assert.match(await refusal(withKeys(file, window)), /sliding_window" \(8\) is not understood/);
});

test("granite: a dense Granite 4 is one, its gate and up taken apart", async () => {
  const given = await openFiles(tinyFiles("granitemoehybrid"));
  const file = await convert(given, GRANITE_4);
  const found = await open(file);
  const { ids, logits } = await tinyGolden("granitemoehybrid");
  const backend = await backends.wasm();
  const gap = gapOf(await logitsOf(backend, found, ids), logits);
  backend.dispose();
  gaps.push(`granitemoehybrid ${gap.toExponential(1)}`);
  assert.ok(gap <= TOLERANCE, `the logits differ by ${gap} of the largest`);
  const hybrid = { "granite.attention.head_count_kv": ["u32", [2, 0]] as const };
  assert.match(await openRefusal(withKeys(file, hybrid)), /must be the same whole number/);
});

/** Half-precision bits of small numbers of eighths. */
const halves = (values: readonly number[]) => fromFloat32("F16", Float32Array.from(values));

test("tensors of other types are given as they were, in the type that holds them", async () => {
  const gemma = (await written("gemma3_text")).file;
  const gains = Array.from({ length: 80 }, (_, i) => i / 8 - 3);
  const norm = { name: "output_norm.weight", shape: [80], type: TYPE.F16, bytes: halves(gains) };
  const replaced = (file: Written, one: WrittenTensor): Written => ({
    ...file,
    tensors: file.tensors!.map((other) => (other.name === one.name ? one : other)),
  });
  const found = await open(replaced(gemma, norm));
  assert.is(found.tensors.get("model.norm.weight")!.dtype, "F32");
  const less = await found.readFloat32("model.norm.weight");
  assert.equal(
    [...less],
    gains.map((gain) => gain - 1),
  );

  const gpt2 = (await written("gpt2")).file;
  const name = "blk.1.ffn_up.weight";
  const half = Array.from({ length: 96 * 64 }, (_, i) => (i % 1000) / 8);
  const f16 = { name, shape: [96, 64], type: TYPE.F16, bytes: halves(half) };
  const asHalf = await open(replaced(gpt2, f16));
  const plain = "transformer.h.1.mlp.c_fc.weight";
  const { dtype, shape } = asHalf.tensors.get(plain)!;
  assert.equal([dtype, shape], ["F16", [64, 96]]);
  const expected = half.map((_, i) => half[(i % 96) * 64 + Math.floor(i / 96)]);
  assert.equal([...(await asHalf.readFloat32(plain))], expected);

  // Blocks of 32 with a scale of 1.
  const bytes = Uint8Array.from({ length: 96 * 2 * 34 }, (_, i) =>
    i % 34 < 2 ? [0x00, 0x3c][i % 34] : (Math.floor(i / 34) + i) % 100,
  );
  const asBlocks = await open(replaced(gpt2, { name, shape: [96, 64], type: TYPE.Q8_0, bytes }));
  const quants = [...bytes].filter((_, i) => i % 34 >= 2);
  const turned = quants.map((_, i) => quants[(i % 96) * 64 + Math.floor(i / 96)]);
  assert.equal([...(await asBlocks.readFloat32(plain))], turned);
});

test("keys that change nothing are let pass, and a model that looks ahead is not", async () => {
  const { file } = await written("gpt2");
  const idle: Record<string, Typed> = {
    "gpt2.attention.causal": ["bool", true],
    "gpt2.expert_used_count": ["u32", 2],
    "gpt2.rope.scaling.attn_factor": ["f32", 1],
  };
  assert.equal(await configOf(withKeys(file, idle)), await configOf(file));
  const ahead = { "gpt2.attention.causal": ["bool", false] as const };
  assert.match(await refusal(withKeys(file, ahead)), /causal" is false, must be true/);
  const olmo = (await written("olmo2")).file;
  const none: Record<string, Typed> = {
    "olmo2.rope.scaling.type": ["string", "none"],
    "olmo2.rope.scaling.factor": ["f32", 4],
  };
  assert.equal(await configOf(withKeys(olmo, none)), await configOf(olmo));
});

test("a tensor that the keys contradict is refused by name", async () => {
  const { file } = await written("gpt_neox");
  const heads = { "gptneox.attention.head_count": ["u32", 5] as const };
  assert.match(
    await openRefusal(withKeys(file, heads)),
    /"blk\.0\.attn_qkv\.(?:weight|bias)"\] its 192 rows are not queries, keys and values of 5 heads/,
  );
});

test("the figures", () => {
  note(`largest |logit difference| / largest |logit|: ${gaps.join(", ")}`);
});

test.run();
