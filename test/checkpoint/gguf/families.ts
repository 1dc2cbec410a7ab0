/** The small models of test/models/tiny as llama.cpp's converter would write them, in F32. */
import type { Checkpoint } from "../../../src/checkpoint/checkpoint.js";
import { interleave, TINY_TOKENS } from "./models.js";
import { TYPE, type Typed, type Written, type WrittenTensor } from "./writer.js";

type Keys = Readonly<Record<string, Typed>>;

interface Converted {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** How a family is converted. */
export interface Converter {
  /** `general.architecture`, which stands before its keys. */
  readonly arch: string;
  /** Without the architecture. */
  readonly keys: Keys;
  /** ggml's names by pieces of those of transformers, the longer ones first. */
  readonly names: readonly (readonly [string, string])[];
  /** What is done to a tensor. @default nothing */
  readonly change?: ((name: string, tensor: Converted) => Converted) | undefined;
  /** A tensor whose rows are several tensors of as many rows each. @default none */
  readonly split?: { readonly piece: string; readonly into: readonly string[] } | undefined;
  /** Tensors beside those of the model, in F32. */
  readonly extra?: Readonly<Record<string, readonly number[]>> | undefined;
}

const LLAMA_NAMES: readonly (readonly [string, string])[] = [
  ["model.embed_tokens.", "token_embd."],
  ["model.norm.", "output_norm."],
  ["lm_head.", "output."],
  ["model.layers.", "blk."],
  ["input_layernorm", "attn_norm"],
  ["self_attn.o_proj", "attn_output"],
  ["self_attn.qkv_proj", "attn_qkv"],
  ...["q_norm", "k_norm"].map((name) => [`self_attn.${name}`, `attn_${name}`] as const),
  ...["q", "k", "v"].map((name) => [`self_attn.${name}_proj`, `attn_${name}`] as const),
  ["mlp.gate_up_proj", "ffn_up"],
  ...["gate", "up", "down"].map((name) => [`mlp.${name}_proj`, `ffn_${name}`] as const),
];
const PRE_NORM = ["post_attention_layernorm", "ffn_norm"] as const;
const POST_NORMS = [
  ["post_attention_layernorm", "post_attention_norm"],
  ["post_feedforward_layernorm", "post_ffw_norm"],
] as const;

/** What is alike in the small models of all families. */
function sizes(hidden: number, layers: number, context: number, heads: number): Keys {
  return {
    context_length: ["u32", context],
    embedding_length: ["u32", hidden],
    block_count: ["u32", layers],
    feed_forward_length: ["u32", 96],
    "attention.head_count": ["u32", heads],
  };
}

function llamaKeys(layers: number, kvHeads: number, epsilon: number, theta: number): Keys {
  return {
    ...sizes(64, layers, 256, 4),
    "attention.head_count_kv": ["u32", kvHeads],
    "attention.layer_norm_rms_epsilon": ["f32", epsilon],
    "rope.freq_base": ["f32", theta],
  };
}

/** Rows of queries and keys in the order of rotary pairs. */
const inPairs = (kvHeads: number) => (name: string, tensor: Converted) => {
  const part = /\.([qk])_proj\./.exec(name)?.[1];
  if (!part) return tensor;
  const { shape, values } = tensor;
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const ordered = interleave(bytes, shape[0], part === "q" ? 4 : kvHeads);
  return { shape, values: new Float32Array(ordered.buffer) };
};

const plusOne = (name: string, { shape, values }: Converted): Converted => ({
  shape,
  values: name.endsWith("norm.weight") ? values.map((value) => value + 1) : values,
});

const GRANITE_SCALES: Keys = {
  "attention.scale": ["f32", 0.4],
  embedding_scale: ["f32", 3],
  residual_scale: ["f32", 0.3],
  logit_scale: ["f32", 6],
};

/** Matrices of blocks the other way round. */
function transposed(name: string, tensor: Converted): Converted {
  const [rows, cols] = tensor.shape;
  if (!/\.h\..*weight/.test(name) || cols === undefined) return tensor;
  const { values } = tensor;
  const from = (i: number) => (i % rows) * cols + Math.floor(i / rows);
  return { shape: [cols, rows], values: values.map((_, i) => values[from(i)]) };
}

/** All queries, then all keys, then all values, of four heads of 16 rows each. */
function inBlocks(name: string, tensor: Converted): Converted {
  if (!name.includes("query_key_value")) return tensor;
  const { shape, values } = tensor;
  const made: number[] = [];
  const head = values.length / 12;
  for (const part of [0, 1, 2]) {
    for (const index of [0, 1, 2, 3]) {
      const start = (3 * index + part) * head;
      made.push(...values.subarray(start, start + head));
    }
  }
  return { shape, values: Float32Array.from(made) };
}

/** By the names of folders. */
export const CONVERTERS: Readonly<Record<string, Converter>> = {
  gemma3_text: {
    arch: "gemma3",
    keys: {
      ...llamaKeys(3, 1, 1e-6, 1e6),
      embedding_length: ["u32", 80],
      "attention.key_length": ["u32", 16],
      "attention.value_length": ["u32", 16],
      "attention.sliding_window": ["u32", 8],
      "attention.sliding_window_pattern": ["bool", [true, true, false]],
      "rope.freq_base_swa": ["f32", 10],
      "rope.scaling.type": ["string", "linear"],
      "rope.scaling.factor": ["f32", 8],
    },
    names: [...LLAMA_NAMES, ...POST_NORMS, ["pre_feedforward_layernorm", "ffn_norm"]],
    change: plusOne,
  },
  smollm3: {
    arch: "smollm3",
    keys: { ...llamaKeys(3, 2, 1e-6, 50_000), "rope.dimension_count": ["u32", 16] },
    names: [...LLAMA_NAMES, PRE_NORM],
    change: inPairs(2),
  },
  granite: {
    arch: "granite",
    keys: {
      ...llamaKeys(2, 2, 1e-6, 10_000),
      "rope.dimension_count": ["u32", 16],
      vocab_size: ["u32", 100],
      ...GRANITE_SCALES,
    },
    names: [...LLAMA_NAMES, PRE_NORM],
    change: inPairs(2),
  },
  phi3: {
    arch: "phi3",
    keys: {
      ...llamaKeys(2, 2, 1e-5, 10_000),
      "attention.sliding_window": ["u32", 20],
      "rope.dimension_count": ["u32", 12],
      "rope.scaling.original_context_length": ["u32", 64],
      "rope.scaling.type": ["string", "longrope"],
      "rope.scaling.attn_factor": ["f32", Math.sqrt(1 + Math.log(4) / Math.log(64))],
    },
    names: [...LLAMA_NAMES, PRE_NORM],
    extra: {
      "rope_factors_long.weight": [1, 2, 4, 6, 8, 9],
      "rope_factors_short.weight": [1, 1.1, 1.3, 1.6, 2, 2.5],
    },
  },
  olmo2: {
    arch: "olmo2",
    keys: llamaKeys(2, 2, 1e-5, 500_000),
    names: [...LLAMA_NAMES, ...POST_NORMS],
  },
  gpt2: {
    arch: "gpt2",
    keys: { ...sizes(64, 2, 64, 4), "attention.layer_norm_epsilon": ["f32", 1e-5] },
    names: [
      ...[["wte", "token_embd"] as const, ["wpe", "position_embd"] as const],
      ...[["ln_f", "output_norm"] as const, ["transformer.h.", "blk."] as const],
      ["transformer.", ""],
      ...[["attn.c_attn", "attn_qkv"] as const, ["attn.c_proj", "attn_output"] as const],
      ...[["mlp.c_fc", "ffn_up"] as const, ["mlp.c_proj", "ffn_down"] as const],
      ...[["ln_1", "attn_norm"] as const, ["ln_2", "ffn_norm"] as const],
    ],
    change: transposed,
  },
  gpt_neox: {
    arch: "gptneox",
    keys: {
      ...sizes(64, 2, 64, 4),
      "attention.layer_norm_epsilon": ["f32", 1e-5],
      "rope.dimension_count": ["u32", 4],
      use_parallel_residual: ["bool", true],
    },
    names: [
      ...[["gpt_neox.embed_in", "token_embd"] as const, ["embed_out", "output"] as const],
      ...[["gpt_neox.final_layer_norm", "output_norm"] as const],
      ["gpt_neox.layers.", "blk."],
      ...[["attention.query_key_value", "attn_qkv"] as const],
      ...[["attention.dense", "attn_output"] as const, ["input_layernorm", "attn_norm"] as const],
      PRE_NORM,
      ...[["mlp.dense_h_to_4h", "ffn_up"] as const, ["mlp.dense_4h_to_h", "ffn_down"] as const],
    ],
    change: inBlocks,
  },
};

/** A Granite 4 without Mamba layers, as a Granite 3. */
export const GRANITE_4: Converter = {
  arch: "granite",
  keys: {
    ...CONVERTERS.granite.keys,
    "attention.head_count_kv": ["i32", [2, 2]],
    expert_count: ["u32", 0],
    expert_used_count: ["u32", 2],
    feed_forward_length: ["u32", 512],
    expert_shared_feed_forward_length: ["u32", 96],
    "ssm.conv_kernel": ["u32", 4],
    "ssm.inner_size": ["u32", 128],
    "rope.scaling.finetuned": ["bool", true],
  },
  names: [...LLAMA_NAMES, PRE_NORM, ["shared_mlp.output_linear", "ffn_down"]],
  change: inPairs(2),
  split: { piece: "shared_mlp.input_linear", into: ["ffn_gate", "ffn_up"] },
};

/** A small model as GGUF. */
export async function convert(checkpoint: Checkpoint, converter: Converter): Promise<Written> {
  const { arch, names, change = (_, tensor) => tensor, extra = {}, split } = converter;
  const tensors: WrittenTensor[] = [];
  const add = (name: string, { shape, values }: Converted) => {
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    tensors.push({ name, shape, type: TYPE.F32, bytes });
  };
  for (const { name, shape } of checkpoint.tensors.values()) {
    const values = await checkpoint.readFloat32(name);
    const ggml = names.reduce((now, [from, to]) => now.replace(from, to), name);
    if (!split || !ggml.includes(split.piece)) {
      add(ggml, change(name, { shape, values }));
      continue;
    }
    const [rows, cols] = shape;
    const size = values.length / split.into.length;
    for (const [i, part] of split.into.entries()) {
      add(ggml.replace(split.piece, part), {
        shape: [rows / split.into.length, cols],
        values: values.slice(i * size, (i + 1) * size),
      });
    }
  }
  for (const [name, values] of Object.entries(extra)) {
    add(name, { shape: [values.length], values: Float32Array.from(values) });
  }
  const keys = Object.entries(converter.keys).map(([key, value]) => [`${arch}.${key}`, value]);
  return {
    keys: {
      "general.architecture": ["string", arch],
      ...TINY_TOKENS,
      "tokenizer.ggml.bos_token_id": ["u32", 1],
      "tokenizer.ggml.eos_token_id": ["u32", 2],
      // Of some families transformers takes one beyond so small a vocabulary where none is given.
      "tokenizer.ggml.padding_token_id": ["u32", 0],
      ...Object.fromEntries(keys),
    },
    tensors,
  };
}
