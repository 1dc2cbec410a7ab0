import { suite } from "uvu";
import * as assert from "uvu/assert";
import { attentionOf, type DecoderSpec } from "../../src/model.js";
import { readModelConfig } from "../../src/models/families/index.js";
import { refused } from "../checkpoint/crafted.js";
import { type Config, leastConfig } from "./tiny.js";
import { tinyFiles } from "./tiny-model.js";

const test = suite("configs");

function read(config: Config): DecoderSpec {
  return readModelConfig("m/config.json", config);
}

/** The config.json of a family's small model. */
function configOf(family: string): Record<string, unknown> {
  return JSON.parse(new TextDecoder().decode(tinyFiles(family)["config.json"]));
}

/** What positions do in each layer: the base, the window. */
function layersOf(spec: DecoderSpec) {
  return spec.blocks.map(attentionOf).map(({ rope, window }) => [rope?.theta, window]);
}

test("Gemma 3: one rope or two, types of layers or a pattern, say the same", () => {
  const { rope_parameters: _, layer_types: __, ...rest } = configOf("gemma3_text");
  const old = {
    ...rest,
    rope_theta: 1e6,
    rope_local_base_freq: 10,
    rope_scaling: { rope_type: "linear", factor: 8 },
    sliding_window_pattern: 3,
  };
  const spec = read(configOf("gemma3_text"));
  assert.equal(read(old), spec);
  assert.equal(layersOf(spec), [
    [10, 8],
    [10, 8],
    [1e6, undefined],
  ]);
  assert.equal(attentionOf(spec.blocks[0]).rope, { theta: 10 });
  assert.equal(attentionOf(spec.blocks[2]).rope, { theta: 1e6, linear: { factor: 8 } });
  const plain = read({ ...leastConfig("gemma3_text"), num_hidden_layers: 7 });
  const local = [10000, 4096];
  assert.equal(layersOf(plain), [local, local, local, local, local, [1e6, undefined], local]);
});

test("Gemma 3: the factor of embeddings is rounded to the dtype of the weights", () => {
  const scale = (config: Config) => read({ ...configOf("gemma3_text"), ...config }).embeddingScale;
  assert.is(scale({ hidden_size: 640 }), 25.25);
  assert.is(scale({ hidden_size: 1152, dtype: undefined, torch_dtype: "bfloat16" }), 34);
  assert.is(scale({ hidden_size: 640, dtype: "float16" }), 25.296875);
  assert.is(scale({ hidden_size: 640, dtype: "float32" }), Math.fround(Math.sqrt(640)));
});

test("SmolLM3: each fourth layer does not rotate unless a list says it", () => {
  const config = { ...leastConfig("smollm3"), num_hidden_layers: 5 };
  const layers = (more: Config) => layersOf(read({ ...config, ...more }));
  const [on, off] = [
    [2e6, undefined],
    [undefined, undefined],
  ];
  assert.equal(layers({}), [on, on, on, off, on]);
  assert.equal(layers({ no_rope_layer_interval: 2 }), [on, off, on, off, on]);
  assert.equal(layers({ no_rope_layers: [0, 1, 1, 1, 1, 1] }), [off, on, on, on, on]);
  const sliding = { use_sliding_window: true, sliding_window: 7 };
  assert.equal(layers(sliding)[3], [undefined, 7]);
});

test("Phi-3: the context ends where LongRoPE's short factors do", () => {
  const config = configOf("phi3");
  assert.is(read(config).context, 64);
  const { rope } = attentionOf(read(config).blocks[0]);
  const attentionFactor = Math.sqrt(1 + Math.log(4) / Math.log(64));
  assert.equal(rope, {
    theta: 10000,
    dims: 12,
    longrope: { factors: [1, 1.1, 1.3, 1.6, 2, 2.5], attentionFactor },
  });
  const { rope_parameters: given, ...rest } = config;
  const old = { ...(given as Config), type: "su", rope_type: undefined, rope_theta: undefined };
  assert.equal(read({ ...rest, rope_scaling: old }), read(config));
  assert.is(read({ ...rest, partial_rotary_factor: 1 }).context, 256);
});

test("Granite 4: positions rotate where it says so, and not otherwise", () => {
  const { position_embedding_type: _, ...rest } = leastConfig("granitemoehybrid");
  assert.equal(layersOf(read(rest))[0], [undefined, undefined]);
  const roped = { ...rest, position_embedding_type: "rope", rope_theta: 5 };
  assert.equal(layersOf(read(roped))[0], [5, undefined]);
  const { layer_types: types, ...others } = roped as Record<string, unknown>;
  assert.equal(read({ ...others, layers_block_type: types }), read(roped));
});

test("GPT-NeoX: the old names of rope's settings", () => {
  const { rope_parameters: _, ...rest } = configOf("gpt_neox");
  const old = read({ ...rest, rotary_pct: 0.5, rotary_emb_base: 500 });
  assert.equal(attentionOf(old.blocks[0]).rope, { theta: 500, dims: 8 });
  assert.equal(read(rest), read(configOf("gpt_neox")));
});

const GEMMA = leastConfig("gemma3_text");
const PHI = leastConfig("phi3");
const LONG = { rope_type: "longrope", short_factor: [1, 2], long_factor: [1, 4] };

const BAD_CONFIGS: readonly (readonly [what: string, config: Config, message: RegExp])[] = [
  [
    "too long a stretch",
    { rope_scaling: LONG },
    /rope type "longrope" is not supported; only default/,
  ],
  [
    "factors for other pairs",
    { ...PHI, rope_scaling: { ...LONG, short_factor: [1] } },
    /"short_factor" is \[1\], must be a list of 2 numbers above 0/,
  ],
  [
    "factors that are none",
    { ...PHI, rope_scaling: { ...LONG, long_factor: [1, 0] } },
    /"long_factor" is .*, must be a list of 2 numbers above 0/,
  ],
  [
    "Phi with yarn",
    { ...PHI, rope_scaling: { type: "yarn", factor: 2 } },
    /only default, longrope are/,
  ],
  [
    "half a pair",
    { ...PHI, partial_rotary_factor: 0.25 },
    /partial_rotary_factor is 0\.25, which leaves no whole pairs of 4 elements/,
  ],
  [
    "two shares",
    { ...PHI, partial_rotary_factor: 0.5, rope_parameters: { partial_rotary_factor: 0.75 } },
    /partial_rotary_factor is both 0\.5 and 0\.75/,
  ],
  [
    "soft capped scores",
    { ...GEMMA, attn_logit_softcapping: 50 },
    /"attn_logit_softcapping" is set/,
  ],
  ["soft capped logits", { ...GEMMA, final_logit_softcapping: 30 }, /"final_logit_softcapping" is/],
  [
    "attention both ways",
    { ...GEMMA, use_bidirectional_attention: true },
    /"use_bidirect.* is set/,
  ],
  [
    "another gate",
    { ...GEMMA, hidden_activation: "silu" },
    /hidden_activation is "silu"; only "gelu_pytorch_tanh"/,
  ],
  [
    "rope by other types of layer",
    { ...GEMMA, rope_parameters: { full_attention: {}, chunked_attention: { rope_theta: 1 } } },
    /has "chunked_attention" beside full_attention and sliding_attention, which is not/,
  ],
  [
    "no list",
    { model_type: "smollm3", no_rope_layers: [1] },
    /"no_rope_layers" must be a list of 1/,
  ],
  [
    "odd list",
    { model_type: "smollm3", no_rope_layers: [1, 2] },
    /"no_rope_layers" must be a list/,
  ],
  [
    "GPT-2 with other scores",
    { ...leastConfig("gpt2"), scale_attn_by_inverse_layer_idx: true },
    /"scale_attn_by_inverse_layer_idx" is true; only false is supported/,
  ],
  ["GPT-2 with relu", { ...leastConfig("gpt2"), activation_function: "relu" }, /only "gelu_new"/],
  [
    "Granite 4 with Mamba",
    { ...leastConfig("granitemoehybrid"), layer_types: ["attention", "mamba"] },
    /it has Mamba layers or experts, which are not supported/,
  ],
  [
    "Granite 4 by default",
    { ...leastConfig("granitemoehybrid"), layer_types: undefined },
    /it has Mamba layers or experts, which are not supported/,
  ],
  [
    "Granite 4 with as many experts as it has by default",
    { ...leastConfig("granitemoehybrid"), num_local_experts: undefined },
    /it has Mamba layers or experts, which are not supported/,
  ],
  [
    "Granite 4 with experts",
    { ...leastConfig("granitemoehybrid"), num_local_experts: 8 },
    /is a mixture of experts/,
  ],
  ["heads of GPT-2", { ...leastConfig("gpt2"), n_head: 3 }, /n_head 3 does not divide n_embd 8/],
  [
    "OPT with norms behind",
    { ...leastConfig("opt"), do_layer_norm_before: false },
    /"do_layer_norm_before" is false; only true is supported/,
  ],
  [
    "OPT with narrow embeddings",
    { ...leastConfig("opt"), word_embed_proj_dim: 4 },
    /"word_embed_proj_dim" is 4; only 8 is supported/,
  ],
  [
    "NeoX with tanh",
    { ...leastConfig("gpt_neox"), hidden_act: "gelu_fast" },
    /only "gelu" \(GELU by/,
  ],
];

for (const [what, config, message] of BAD_CONFIGS) {
  test(`${what}: refused`, async () => {
    await refused(() => read({ ...leastConfig("llama"), ...config }), message, what);
  });
}

test.run();
