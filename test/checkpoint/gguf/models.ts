/** Tiny models as GGUF files. */
import type { Checkpoint } from "../../../src/checkpoint/checkpoint.js";
import { type Config, tinyCheckpoint } from "../../models/tiny.js";
import { TYPE, type Typed, type Written, type WrittenTensor, writeGguf } from "./writer.js";

/** Names of transformers as those of ggml, the longer ones first. */
const NAMES: readonly (readonly [string, string])[] = [
  ["model.embed_tokens.", "token_embd."],
  ["model.norm.", "output_norm."],
  ["lm_head.", "output."],
  ["model.layers.", "blk."],
  ["input_layernorm", "attn_norm"],
  ["post_attention_layernorm", "ffn_norm"],
  ...["q_norm", "k_norm"].map((name) => [`self_attn.${name}`, `attn_${name}`] as const),
  ...["q", "k", "v"].map((name) => [`self_attn.${name}_proj`, `attn_${name}`] as const),
  ["self_attn.o_proj", "attn_output"],
  ...["gate", "up", "down"].map((name) => [`mlp.${name}_proj`, `ffn_${name}`] as const),
];

export function ggmlName(name: string): string {
  return NAMES.reduce((now, [from, to]) => now.replace(from, to), name);
}

/** Puts the rows of heads into the order of rotary pairs. */
export function interleave(bytes: Uint8Array, rows: number, heads: number): Uint8Array {
  const made = new Uint8Array(bytes.length);
  const width = bytes.length / rows;
  const half = rows / heads / 2;
  for (let head = 0; head < heads; head++) {
    for (let i = 0; i < half; i++) {
      for (const side of [0, 1]) {
        const from = (2 * head * half + side * half + i) * width;
        made.set(bytes.subarray(from, from + width), (2 * head * half + 2 * i + side) * width);
      }
    }
  }
  return made;
}

/** A tokenizer of ten tokens. */
export const TINY_TOKENS: Readonly<Record<string, Typed>> = {
  "tokenizer.ggml.model": ["string", "gpt2"],
  "tokenizer.ggml.pre": ["string", "gpt-2"],
  "tokenizer.ggml.tokens": [
    "string",
    ["<s>", "</s>", "a", "b", "c", "Ġ", "ab", "Ġc", "abc", "Ġcab"],
  ],
  "tokenizer.ggml.token_type": ["i32", [3, 3, 1, 1, 1, 1, 1, 1, 1, 1]],
  "tokenizer.ggml.merges": ["string", ["a b", "Ġ c", "ab c", "Ġc ab"]],
  "tokenizer.ggml.bos_token_id": ["u32", 0],
  "tokenizer.ggml.eos_token_id": ["u32", 1],
  "tokenizer.ggml.add_bos_token": ["bool", false],
};

/** The keys that say what a config says. */
export function keysOf(config: Config): Record<string, Typed> {
  const arch = config.model_type === "mistral" ? "llama" : String(config.model_type);
  const number = (name: string) => Number(config[name]);
  return {
    "general.architecture": ["string", arch],
    "general.name": ["string", "tiny"],
    [`${arch}.context_length`]: ["u32", number("max_position_embeddings")],
    [`${arch}.vocab_size`]: ["u32", number("vocab_size")],
    [`${arch}.embedding_length`]: ["u32", number("hidden_size")],
    [`${arch}.block_count`]: ["u32", number("num_hidden_layers")],
    [`${arch}.feed_forward_length`]: ["u32", number("intermediate_size")],
    [`${arch}.attention.head_count`]: ["u32", number("num_attention_heads")],
    [`${arch}.attention.head_count_kv`]: ["u32", number("num_key_value_heads")],
    [`${arch}.attention.layer_norm_rms_epsilon`]: ["f32", number("rms_norm_eps")],
    [`${arch}.rope.freq_base`]: ["f32", number("rope_theta")],
    ...(config.head_dim !== undefined && {
      [`${arch}.attention.key_length`]: ["u32", number("head_dim")] as const,
      [`${arch}.attention.value_length`]: ["u32", number("head_dim")] as const,
    }),
    ...(config.sliding_window !== undefined && {
      [`${arch}.attention.sliding_window`]: ["u32", number("sliding_window")] as const,
    }),
    ...TINY_TOKENS,
  };
}

/** What a tiny model's config says in every family. */
export const GGUF_CONFIG: Config = {
  ...{ model_type: "llama", hidden_size: 8, intermediate_size: 12, num_hidden_layers: 2 },
  ...{ num_attention_heads: 2, num_key_value_heads: 1, vocab_size: 10 },
  ...{ max_position_embeddings: 16, rms_norm_eps: 1e-5, rope_theta: 10000 },
};

/** A tiny model in both forms. */
export async function tinyGguf(
  config: Config = {},
): Promise<{ checkpoint: Checkpoint; written: Written }> {
  const whole = { ...GGUF_CONFIG, ...config };
  const checkpoint = await tinyCheckpoint(whole);
  const isLlama = whole.model_type === "llama" || whole.model_type === "mistral";
  const tensors: WrittenTensor[] = [];
  for (const { name, shape } of checkpoint.tensors.values()) {
    const bytes = await checkpoint.read(name);
    const part = /\.([qk])_proj\./.exec(name)?.[1];
    const heads =
      part && Number(whole[part === "q" ? "num_attention_heads" : "num_key_value_heads"]);
    const rows = isLlama && heads ? interleave(bytes, shape[0], heads) : bytes;
    tensors.push({ name: ggmlName(name), shape, type: TYPE.F32, bytes: rows });
  }
  return { checkpoint, written: { keys: keysOf(whole), tensors } };
}

/** A model in three files, which have each third tensor, as llama.cpp's gguf-split names them. */
export function inParts({ keys, tensors = [] }: Written, stem: string): [string, Uint8Array][] {
  return [0, 1, 2].map((no) => {
    const split: Record<string, Typed> = {
      ...{ "split.no": ["u16", no], "split.count": ["u16", 3] },
      "split.tensors.count": ["i32", tensors.length],
    };
    const own = no === 0 ? { ...(keys as Record<string, Typed>), ...split } : split;
    const mine = tensors.filter((_, i) => i % 3 === no);
    return [`${stem}-0000${no + 1}-of-00003.gguf`, writeGguf({ keys: own, tensors: mine })];
  });
}

/** The file of a tiny model. */
export async function tinyFile(config: Config = {}): Promise<Uint8Array> {
  return writeGguf((await tinyGguf(config)).written);
}
