/** Model families by the names that llama.cpp has for them: their tensors and their config.json. */
import { PenjingError } from "../../errors.js";
import { quote } from "../../quote.js";
import type { Keys } from "./keys.js";
import { keyScaling } from "./rope.js";

/** What a file holds, as far as config.json depends on it. */
export interface Contents {
  /** Whether there is a tensor of this name, in ggml's names. */
  has(tensor: string): boolean;
  /** Rows of the embedding, where it has some. */
  readonly vocabSize: number | undefined;
  /** The scaling that a tensor of divisors stands for. */
  readonly ropeScaling: Record<string, unknown> | undefined;
}

type Config = Record<string, unknown>;

/** A family. */
export interface Architecture {
  /** config.json but for the ids of tokens and the dtype. */
  config(keys: Keys, arch: string, contents: Contents): Config;
  /** Names in transformers of the tensors of a block, ".weight" and ".bias" aside. */
  readonly blockNames: Readonly<Record<string, string>>;
  /**
   * Of the tensors of a block whose rows lie in the interleaved order of rotary pairs, how many heads
   * each has: row 2i + half of a head is row i of that half in transformers. Absent where none does.
   */
  readonly interleaved?: (keys: Keys, arch: string) => Readonly<Record<string, number>>;
}

const LLAMA_BLOCK = {
  attn_norm: "input_layernorm",
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  attn_q_norm: "self_attn.q_norm",
  attn_k_norm: "self_attn.k_norm",
  ffn_norm: "post_attention_layernorm",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
};

/** What stands outside the blocks, in all families. */
const OUTER_NAMES: Readonly<Record<string, string>> = {
  token_embd: "model.embed_tokens",
  output_norm: "model.norm",
  output: "lm_head",
};

/** The fields that all families of Llama's kind share. */
function llamaFields(keys: Keys, arch: string, contents: Contents): Config {
  const of = (key: string) => `${arch}.${key}`;
  const experts = keys.whole(of("expert_count")) ?? 0;
  if (experts > 0) {
    throw new PenjingError(
      keys.name,
      `it is a mixture of ${experts} experts, which is not supported; choose a dense model.`,
    );
  }
  const hidden = keys.count(of("embedding_length"));
  const heads = keys.count(of("attention.head_count"));
  const headDim = keys.count(
    of("attention.key_length"),
    keys.count(of("rope.dimension_count"), Math.max(1, Math.floor(hidden / heads))),
  );
  for (const key of ["attention.value_length", "rope.dimension_count"]) {
    if (keys.count(of(key), headDim) !== headDim) {
      keys.fail(of(key), `${headDim}, the width of a head`);
    }
  }
  const scaling = contents.ropeScaling ?? keyScaling(keys, arch);
  return {
    vocab_size: keys.count(of("vocab_size"), contents.vocabSize),
    hidden_size: hidden,
    intermediate_size: keys.count(of("feed_forward_length")),
    num_hidden_layers: keys.count(of("block_count")),
    num_attention_heads: heads,
    num_key_value_heads: keys.count(of("attention.head_count_kv"), heads),
    head_dim: headDim,
    hidden_act: "silu",
    max_position_embeddings: keys.count(of("context_length")),
    rms_norm_eps: keys.positive(of("attention.layer_norm_rms_epsilon")),
    rope_theta: keys.positive(of("rope.freq_base"), 10_000),
    ...(scaling && { rope_scaling: scaling }),
    tie_word_embeddings: !contents.has("output.weight"),
  };
}

/** Llama, and Mistral, which llama.cpp tells from it by its window alone. */
const llama: Architecture = {
  config(keys, arch, contents) {
    const window = keys.whole(`${arch}.attention.sliding_window`) ?? 0;
    const fields = llamaFields(keys, arch, contents);
    if (window > 0) {
      return {
        ...{ architectures: ["MistralForCausalLM"], model_type: "mistral", ...fields },
        sliding_window: window,
      };
    }
    return {
      ...{ architectures: ["LlamaForCausalLM"], model_type: "llama", ...fields },
      attention_bias: contents.has("blk.0.attn_q.bias"),
      mlp_bias: contents.has("blk.0.ffn_up.bias"),
    };
  },
  blockNames: LLAMA_BLOCK,
  interleaved(keys, arch) {
    const heads = keys.count(`${arch}.attention.head_count`);
    return { attn_q: heads, attn_k: keys.count(`${arch}.attention.head_count_kv`, heads) };
  },
};

const qwen2: Architecture = {
  config: (keys, arch, contents) => ({
    ...{ architectures: ["Qwen2ForCausalLM"], model_type: "qwen2" },
    ...llamaFields(keys, arch, contents),
    use_sliding_window: false,
  }),
  blockNames: LLAMA_BLOCK,
};

const qwen3: Architecture = {
  config: (keys, arch, contents) => ({
    ...{ architectures: ["Qwen3ForCausalLM"], model_type: "qwen3" },
    ...llamaFields(keys, arch, contents),
    attention_bias: contents.has("blk.0.attn_q.bias"),
    use_sliding_window: false,
  }),
  blockNames: LLAMA_BLOCK,
};

/** Every family by `general.architecture`. */
export const ARCHITECTURES: Readonly<Record<string, Architecture>> = { llama, qwen2, qwen3 };

/** The key that names the family. */
export const ARCHITECTURE_KEY = "general.architecture";

/** The family of a file; undefined where it is not known here. */
export function architectureOf(keys: Keys): Architecture | undefined {
  const name = keys.text(ARCHITECTURE_KEY) ?? "";
  return Object.hasOwn(ARCHITECTURES, name) ? ARCHITECTURES[name] : undefined;
}

/** What is said of a family that is not known here. */
export function unknownArchitecture(keys: Keys): PenjingError {
  const name = keys.text(ARCHITECTURE_KEY);
  const known = Object.keys(ARCHITECTURES).join(", ");
  const what =
    name === undefined
      ? `it has no key ${quote(ARCHITECTURE_KEY)}, which names the model's family`
      : `it holds a model of the architecture ${quote(name)}, which is not supported as GGUF`;
  return new PenjingError(keys.name, `${what}; choose one of ${known}.`);
}

/**
 * A tensor's name in transformers; its own where it has none there.
 *
 * @param name as in "blk.0.attn_q.weight"
 */
export function plainName(architecture: Architecture | undefined, name: string): string {
  const [, block, part, ending] =
    /^(?:blk\.(\d+)\.)?([a-z0-9_]+)(\.(?:weight|bias))$/.exec(name) ?? [];
  if (!architecture || part === undefined) return name;
  const names = block === undefined ? OUTER_NAMES : architecture.blockNames;
  if (!Object.hasOwn(names, part)) return name;
  const before = block === undefined ? "" : `model.layers.${block}.`;
  return `${before}${names[part]}${ending}`;
}

/** How many heads' rows of a tensor lie in the interleaved order; undefined where none do. */
export function interleavedHeads(
  architecture: Architecture | undefined,
  keys: Keys,
  name: string,
): number | undefined {
  const [, part] = /^blk\.\d+\.([a-z0-9_]+)\.(?:weight|bias)$/.exec(name) ?? [];
  if (!architecture?.interleaved || part === undefined) return undefined;
  const heads = architecture.interleaved(keys, keys.text(ARCHITECTURE_KEY)!);
  return Object.hasOwn(heads, part) ? heads[part] : undefined;
}
