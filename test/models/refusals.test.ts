import { suite } from "uvu";
import * as assert from "uvu/assert";
import { backends } from "../../src/backends/index.js";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { attentionOf, type DecoderSpec } from "../../src/model.js";
import { families, readModelConfig } from "../../src/models/families/index.js";
import { loadDecoder } from "../../src/models/open.js";
import { readModel } from "../../src/models/stored.js";
import { memoryFolder } from "../../src/platform/files.js";
import { refused } from "../checkpoint/crafted.js";
import { canTest } from "../webgpu/adapter.js";
import {
  type Config,
  leastConfig,
  type StoredTensor,
  TINY_CONFIG,
  tinyCheckpoint,
  tinyTensor,
} from "./tiny.js";

const test = suite("refusals");

const DOWN = "model.layers.1.mlp.down_proj.weight";
const NORM = "model.norm.weight";

function read(config: Config): DecoderSpec {
  return readModelConfig("m/config.json", { ...TINY_CONFIG, ...config });
}

function windowsOf(config: Config): (number | undefined)[] {
  return read(config).blocks.map((block) => attentionOf(block).window);
}

/** What families are where config.json does not say it, and others are not. */
const DEFAULTS: Readonly<
  Record<string, { kvHeads?: number; headDim?: number; rope?: object | undefined }>
> = {
  gemma3_text: { kvHeads: 1, rope: { theta: 10000 } },
  gpt2: { kvHeads: 2, rope: undefined },
  gpt_neox: { kvHeads: 2, headDim: 8, rope: { theta: 10000, dims: 2 } },
  opt: { kvHeads: 2, rope: undefined },
  smollm3: { rope: { theta: 2e6 } },
};

for (const [name, family] of Object.entries(families)) {
  test(`${name}: reads a config with nothing but what every family needs, and runs it`, async () => {
    assert.is(family.modelType, name);
    assert.ok(family.summary.length > 0);
    const config = leastConfig(name);
    const spec = readModelConfig("m/config.json", config);
    assert.is(spec.family, name);
    const [first, ...others] = spec.blocks.map(attentionOf);
    const usual = { kvHeads: 1, headDim: 4, rope: { theta: 10000 }, ...DEFAULTS[name] };
    assert.equal([first.headDim, first.kvHeads, others.length], [usual.headDim, usual.kvHeads, 1]);
    assert.equal(first.rope, usual.rope);
    const checkpoint = await tinyCheckpoint(config);
    const backend = await backends.reference();
    const decoder = await loadDecoder(readModel(checkpoint), backend, 5);
    const out = backend.zeros([5, spec.vocabSize]);
    decoder.logits(Int32Array.of(1, 2, 3, 9, 0), out);
    const logits = (await backend.read(out)) as Float32Array;
    assert.ok(logits.every(Number.isFinite) && logits.some((logit) => logit !== 0));
    backend.dispose();
  });

  test(`${name}: names a missing or wrong field and the cure`, async () => {
    const least = leastConfig(name);
    const optional =
      /model_type|key_value|head_dim|^shared_|experts|layer_types|position_embedding/;
    for (const key of Object.keys(least).filter((one) => !optional.test(one))) {
      for (const value of [undefined, null, "8", 0, -1, 1.5, []]) {
        const pattern = new RegExp(`\\[m/config\\.json\\] "${key}" is .*must be .*take config`);
        const read = () => readModelConfig("m/config.json", { ...least, [key]: value });
        await refused(read, pattern, `${key} ${value}`);
      }
    }
  });
}

const BAD_CONFIGS: readonly (readonly [what: string, config: Config, message: RegExp])[] = [
  ["an unknown family", { model_type: "gpt1" }, /"gpt1" is not supported; choose .*llama.*qwen3/],
  ["no family", { model_type: undefined }, /model_type "" is not supported; choose/],
  ["an inherited name", { model_type: "toString" }, /"toString" is not supported; choose/],
  ["Mixtral", { model_type: "mixtral" }, /mixture of experts.*choose a dense model/],
  ["Qwen3 MoE", { model_type: "qwen3_moe" }, /mixture of experts.*choose a dense model/],
  ["experts", { num_local_experts: 8 }, /mixture of experts.*choose a dense model/],
  ["routed experts", { n_routed_experts: 64 }, /mixture of experts/],
  [
    "text and images",
    { model_type: "mistral3", text_config: {} },
    /"mistral3", a model of text and more, is not supported/,
  ],
  [
    "a class that is not known",
    { model_type: undefined, architectures: ["GPT2LMHeadModel"] },
    /model_type "" is not supported/,
  ],
  ["rope as text", { rope_scaling: "yarn" }, /"rope_scaling" is "yarn", must be an object/],
  ["half of llama3", { rope_scaling: { rope_type: "llama3", factor: 8 } }, /low_freq_factor.*must/],
  ["partial rotation", { partial_rotary_factor: 0.5 }, /partial_rotary_factor.*0\.5/],
  ["gelu", { hidden_act: "gelu" }, /hidden_act is "gelu"; only "silu"/],
  [
    "quantization",
    { quantization_config: { bits: 4 } },
    /quantized.*quant_method.*take the original/,
  ],
  ["head counts", { num_key_value_heads: 3 }, /num_key_value_heads 3 does not divide .* 2/],
  ["more kv heads", { num_key_value_heads: 4 }, /num_key_value_heads 4 does not divide/],
  ["uneven heads", { num_attention_heads: 3, num_key_value_heads: 3 }, /"head_dim"|a head of/],
  ["an odd head", { head_dim: 5 }, /a head of 5 elements cannot be rotated/],
  ["a theta of 0", { rope_theta: 0 }, /"rope_theta" is 0, must be a number above 0/],
  [
    "a flag as text",
    { tie_word_embeddings: "yes" },
    /"tie_word_embeddings" is "yes", must be true/,
  ],
  ["a token id as text", { eos_token_id: ["</s>"] }, /"eos_token_id".*must be a token id/],
];

for (const [what, config, message] of BAD_CONFIGS) {
  test(`a config with ${what} is refused`, async () => {
    const error = await refused(() => read(config), message);
    assert.match(error.where, /^m\/config\.json/);
  });
}

test("a config that holds no object is refused", async () => {
  for (const parsed of [null, 3, "llama", [TINY_CONFIG]]) {
    await refused(() => readModelConfig("c", parsed), /\[c\] it must hold a JSON object/);
  }
});

test("one expert, or none, is a dense model", () => {
  for (const count of [0, 1]) {
    assert.is(read({ num_local_experts: count, num_experts: count }).family, "llama");
  }
});

test("the family may stand under architectures alone", () => {
  for (const [type, name] of [
    ["llama", "LlamaForCausalLM"],
    ["mistral", "MistralForCausalLM"],
    ["qwen2", "Qwen2ForCausalLM"],
    ["qwen3", "Qwen3ForCausalLM"],
  ]) {
    assert.is(read({ model_type: undefined, architectures: [name] }).family, type);
  }
});

test("other ways to say the same", () => {
  assert.equal(read({ hidden_act: "swish" }), read({ hidden_act: "silu" }));
  assert.equal(read({ eos_token_id: -1, bos_token_id: -1 }), read({}));
  assert.equal(read({ eos_token_id: [2, -1] }).eosIds, [2]);
});

test("numbers that the files do not bear out are refused before anything of their size is made", async () => {
  const checkpoint = await tinyCheckpoint();
  for (const [key, message] of [
    [
      "num_hidden_layers",
      /"num_hidden_layers" is 1e\+?9|is 1000000000, but the model's files hold/,
    ],
    ["vocab_size", /embed_tokens\.weight is \[10,8\], but config\.json asks for \[1000000000,8\]/],
    ["intermediate_size", /gate_proj\.weight is \[12,8\], but config\.json asks for \[1000000000/],
    ["hidden_size", /asks for \[10,1000000000\]|a head of/],
    ["head_dim", /q_proj\.weight is \[8,8\], but config\.json asks for \[2000000000,8\]/],
    ["num_attention_heads", /"head_dim" is missing|a head of/],
    ["num_key_value_heads", /does not divide/],
  ] as const) {
    const config = { ...(checkpoint.config as Config), [key]: 1e9 };
    const started = performance.now();
    await refused(() => readModel({ ...checkpoint, config }), message, key);
    assert.ok(performance.now() - started < 200, key);
  }
  const config = {
    ...(checkpoint.config as Config),
    ...{ num_hidden_layers: Number.MAX_SAFE_INTEGER, layer_types: [] },
    ...{ model_type: "qwen2", use_sliding_window: true, sliding_window: 4 },
  };
  await refused(
    () => readModel({ ...checkpoint, config }),
    /the model's files hold only 21 tensors/,
  );
});

test("windows and contexts beyond what is counted see everything", async () => {
  const backend = await backends.wasm();
  const all = Object.entries({ plain: {}, huge: { sliding_window: 2 ** 53 - 1 } });
  const results = await Promise.all(
    all.map(async ([, config]) => {
      const given = { model_type: "mistral", max_position_embeddings: 2 ** 53 - 1, ...config };
      const decoder = await loadDecoder(readModel(await tinyCheckpoint(given)), backend, 5);
      const out = backend.zeros([5, 10]);
      decoder.logits(Int32Array.of(1, 2, 3, 9, 0), out);
      return backend.read(out);
    }),
  );
  assert.equal(results[1], results[0]);
  backend.dispose();
});

for (const name of ["qwen2", "qwen3"]) {
  test(`${name}: which layers have a window`, async () => {
    const windows = (config: Config) =>
      windowsOf({ model_type: name, num_hidden_layers: 3, sliding_window: 6, ...config });
    const none = [undefined, undefined, undefined];
    const slides = { use_sliding_window: true };
    const [full, sliding] = ["full_attention", "sliding_attention"];
    assert.equal(windows({}), none);
    assert.equal(windows({ max_window_layers: 0 }), none);
    assert.equal(windows({ ...slides, max_window_layers: 0 }), [6, 6, 6]);
    assert.equal(windows({ ...slides, max_window_layers: 2 }), [undefined, undefined, 6]);
    assert.equal(windows({ ...slides, max_window_layers: 28 }), none);
    const types = { ...slides, layer_types: [full, sliding, full], max_window_layers: 0 };
    assert.equal(windows(types), [undefined, 6, undefined]);
    await refused(
      () => windows({ ...slides, layer_types: [sliding] }),
      /"layer_types" names 1 layers, must name 3; take config/,
    );
    await refused(
      () => windows({ ...slides, layer_types: [full, "chunked_attention", full] }),
      /"layer_types".*"chunked_attention".*full_attention/,
    );
    await refused(
      () => windows({ ...slides, max_window_layers: "2" }),
      /"max_window_layers" is "2"/,
    );
    await refused(() => windows({ ...slides, sliding_window: null }), /"sliding_window" is null/);
  });
}

test("mistral: every layer has the window, or none", () => {
  const windows = (config: Config) => windowsOf({ model_type: "mistral", ...config });
  assert.equal(windows({ sliding_window: 6 }), [6, 6]);
  assert.equal(windows({ sliding_window: null }), [undefined, undefined]);
});

type Edit = (tensors: Map<string, StoredTensor>) => void;

const BAD_TENSORS: readonly (readonly [what: string, edit: Edit, message: RegExp])[] = [
  ["a missing tensor", (t) => t.delete(DOWN), /down_proj\.weight is missing.*incomplete/],
  ["no head", (t) => t.delete("lm_head.weight"), /lm_head\.weight is missing/],
  [
    "an extra tensor",
    (t) =>
      t.set(
        "model.layers.2.mlp.up_proj.weight",
        tinyTensor("model.layers.2.mlp.up_proj.weight", [12, 8]),
      ),
    /layers\.2\.mlp\.up_proj\.weight is not part of a llama model of 2 layers.*num_hidden_layers/,
  ],
  [
    "an unexpected bias",
    (t) => t.set("b", tinyTensor("model.layers.0.self_attn.q_proj.bias", [8])),
    /q_proj\.bias is not part of .*would be lost/,
  ],
  [
    "a wrong shape",
    (t) => t.set(DOWN, tinyTensor(DOWN, [12, 8])),
    /down_proj\.weight is \[12,8\], but config\.json asks for \[8,12\]; take both/,
  ],
  [
    "an integer dtype",
    (t) => t.set(DOWN, tinyTensor(DOWN, [8, 12], "I8", new Uint8Array(96))),
    /down_proj\.weight is I8, must be one of F32, F16, BF16, F64; quantized/,
  ],
];

for (const [what, edit, message] of BAD_TENSORS) {
  test(`a checkpoint with ${what} is refused`, async () => {
    const checkpoint = await tinyCheckpoint({}, edit);
    const error = await refused(() => readModel(checkpoint), message);
    assert.is(error.where, "tiny");
  });
}

test("a checkpoint without config.json is refused", async () => {
  const { folder } = await tinyCheckpoint();
  const source = await folder.open("model.safetensors");
  const weights = await source.read(0, source.size);
  const alone = await openCheckpoint(memoryFolder({ "model.safetensors": weights }, "alone"));
  await refused(() => readModel(alone), /\[alone\] there is no config\.json.*copy it/);
});

for (const [name, open] of Object.entries(backends).filter(([name]) => canTest(name))) {
  test(`${name}: NaN or infinite weights are refused, and nothing stays in memory`, async () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      for (const tensor of ["model.embed_tokens.weight", DOWN, NORM, "lm_head.weight"]) {
        const checkpoint = await tinyCheckpoint({}, (tensors) => {
          const { entry, bytes } = tensors.get(tensor)!;
          const damaged = bytes.slice();
          new Float32Array(damaged.buffer)[3] = bad;
          tensors.set(tensor, { entry, bytes: damaged });
        });
        const backend = await open();
        const message = new RegExp(`${tensor} holds 1 values that are NaN or infinite`);
        await refused(() => loadDecoder(readModel(checkpoint), backend, 4), message);
        assert.is(backend.memory().live, 0, `${tensor} ${bad}`);
        backend.dispose();
      }
    }
  });
}

test("tied heads are read under either name, inverse frequencies are passed over", async () => {
  const tied = { tie_word_embeddings: true };
  const [embedding, head] = ["model.embed_tokens.weight", "lm_head.weight"];
  const run = async (edit: Edit) => {
    const backend = await backends.reference();
    const decoder = await loadDecoder(readModel(await tinyCheckpoint(tied, edit)), backend, 2);
    const out = backend.zeros([2, 10]);
    decoder.logits(Int32Array.of(4, 5), out);
    const logits = (await backend.read(out)) as Float32Array;
    backend.dispose();
    return [...logits];
  };
  const plain = await run(() => {});
  const { bytes } = tinyTensor(embedding, [10, 8]);
  const asHead = tinyTensor(head, [10, 8], "F32", bytes);
  assert.equal(await run((t) => t.delete(embedding) && t.set(head, asHead)), plain);
  assert.equal(await run((t) => t.set(head, asHead)), plain);
  // transformers ties to the embedding whatever the head holds.
  assert.equal(await run((t) => t.set(head, tinyTensor(head, [10, 8]))), plain);
  const inverse = "model.layers.0.self_attn.rotary_emb.inv_freq";
  assert.equal(await run((t) => t.set(inverse, tinyTensor(inverse, [2]))), plain);
});

test.run();
