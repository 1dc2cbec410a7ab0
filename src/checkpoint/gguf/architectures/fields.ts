/** What families have in common: how one is described, and the fields of the Llama kind. */
import { PenjingError } from "../../../errors.js";
import type { DecoderSpec } from "../../../model.js";
import type { Change } from "../change.js";
import type { Keys } from "../keys.js";
import { keyScaling, llama3Scaling, ROPE_FREQS } from "../rope.js";
import type { KeyValues } from "../write/values.js";

/** What a file holds, as far as config.json depends on it. */
export interface Contents {
  /** Whether there is a tensor of this name, in ggml's names. */
  has(tensor: string): boolean;
  /** Rows of the embedding, where it has some. */
  readonly vocabSize: number | undefined;
  /** Values of a tensor that the architecture has among its `factors`. */
  factors(tensor: string): Float32Array | undefined;
}

export type Config = Record<string, unknown>;

/** What is said of a model when it is written. */
export interface Told {
  /** Without the architecture, which stands before every key. */
  readonly keys: KeyValues;
  /** Values of the tensors that tell of the model, as `factors` names them. @default none */
  readonly factors?: Readonly<Record<string, Float32Array>> | undefined;
  /** Sentences on what llama.cpp does otherwise. @default none */
  readonly notes?: readonly string[] | undefined;
}

/** A family, as llama.cpp has it. */
export interface Architecture {
  /** The names in transformers (`model_type`) of the models that are written as this. */
  readonly families: readonly string[];
  /** What config.json says, said in keys: `config` read backwards. */
  tell(spec: DecoderSpec, config: Config): Told;
  /** config.json but for the ids of tokens and the dtype. */
  config(keys: Keys, arch: string, contents: Contents): Config;
  /** Names in transformers of the tensors outside blocks, ".weight" and ".bias" aside. */
  readonly outerNames: Readonly<Record<string, string>>;
  /** What stands before the number of a block. @default "model.layers." */
  readonly blocks?: string | undefined;
  /** Names in transformers of the tensors of a block, ".weight" and ".bias" aside. */
  readonly blockNames: Readonly<Record<string, string>>;
  /**
   * Tensors of a block that are several of ggml's, whose rows they have one after another, or that
   * other models of the family call so. @default none
   */
  readonly alsoNamed?: Readonly<Record<string, readonly string[]>> | undefined;
  /** llama.cpp demands a head even where it is the embedding. @default false */
  readonly needsHead?: boolean | undefined;
  /** What llama.cpp's converter changes in tensors, by ggml's names of them. @default nothing */
  readonly changes?: ((keys: Keys, arch: string) => Readonly<Record<string, Change>>) | undefined;
  /** Tensors that config.json tells of instead. @default that of Llama 3's divisors */
  readonly factors?: readonly string[] | undefined;
}

export const LLAMA_OUTER: Readonly<Record<string, string>> = {
  token_embd: "model.embed_tokens",
  output_norm: "model.norm",
  output: "lm_head",
};

export const LLAMA_BLOCK = {
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

/** Queries and keys lie in the order of rotary pairs, as in all that is converted as Llama is. */
export function llamaChanges(keys: Keys, arch: string): Readonly<Record<string, Change>> {
  const heads = keys.perLayer(`${arch}.attention.head_count`);
  const kvHeads = keys.perLayer(`${arch}.attention.head_count_kv`, heads);
  return { attn_q: { kind: "pairs", heads }, attn_k: { kind: "pairs", heads: kvHeads } };
}

/** Refuses a mixture of experts. */
function refuseExperts(keys: Keys, arch: string): void {
  const experts = keys.whole(`${arch}.expert_count`) ?? 0;
  if (experts === 0) return;
  throw new PenjingError(
    keys.name,
    `it is a mixture of ${experts} experts, which is not supported; choose a dense model.`,
  );
}

/** Elements of a head, and how many of them are rotated. */
export function headDims(keys: Keys, arch: string, isPartial: boolean) {
  const of = (key: string) => `${arch}.${key}`;
  const hidden = keys.count(of("embedding_length"));
  const heads = keys.perLayer(of("attention.head_count"));
  const share = Math.max(1, Math.floor(hidden / heads));
  const usual = isPartial ? share : keys.count(of("rope.dimension_count"), share);
  const headDim = keys.count(of("attention.key_length"), usual);
  const rotated = keys.count(of("rope.dimension_count"), headDim);
  if (keys.count(of("attention.value_length"), headDim) !== headDim) {
    keys.fail(of("attention.value_length"), `${headDim}, the width of a head`);
  }
  if (isPartial ? rotated > headDim : rotated !== headDim) {
    keys.fail(
      of("rope.dimension_count"),
      `${isPartial ? "at most " : ""}${headDim}, the width of a head`,
    );
  }
  return { hidden, heads, headDim, rotated };
}

/** Sizes that every family has keys for. */
export function sizes(keys: Keys, arch: string, contents: Contents) {
  refuseExperts(keys, arch);
  return {
    vocabSize: keys.count(`${arch}.vocab_size`, contents.vocabSize),
    intermediate: keys.perLayer(`${arch}.feed_forward_length`),
    layers: keys.count(`${arch}.block_count`),
    context: keys.count(`${arch}.context_length`),
    tied: !contents.has("output.weight"),
  };
}

/**
 * The fields that all families of Llama's kind share, the rope's scaling aside.
 *
 * @param isPartial whether a part of each head may be rotated. @default false
 */
export function plainFields(keys: Keys, arch: string, contents: Contents, isPartial = false) {
  const { hidden, heads, headDim, rotated } = headDims(keys, arch, isPartial);
  const { vocabSize, intermediate, layers, context, tied } = sizes(keys, arch, contents);
  return {
    vocab_size: vocabSize,
    hidden_size: hidden,
    intermediate_size: intermediate,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: keys.perLayer(`${arch}.attention.head_count_kv`, heads),
    head_dim: headDim,
    hidden_act: "silu",
    max_position_embeddings: context,
    rms_norm_eps: keys.positive(`${arch}.attention.layer_norm_rms_epsilon`),
    rope_theta: keys.positive(`${arch}.rope.freq_base`, 10_000),
    ...(rotated !== headDim && { partial_rotary_factor: rotated / headDim }),
    tie_word_embeddings: tied,
  };
}

/** The fields that all families of Llama's kind share. */
export function llamaFields(keys: Keys, arch: string, contents: Contents) {
  const fields = plainFields(keys, arch, contents);
  const divisors = contents.factors(ROPE_FREQS);
  const scaling = divisors && llama3Scaling(divisors, fields.rope_theta, keys.name);
  const rope_scaling = scaling ?? keyScaling(keys, arch);
  return { ...fields, ...(rope_scaling && { rope_scaling }) };
}
