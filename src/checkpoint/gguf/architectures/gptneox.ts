import { type Architecture, headDims, sizes } from "./fields.js";
import { attentionIn, sizeKeys } from "./tell.js";

/** GPT-NeoX (Pythia). */
export const gptneox: Architecture = {
  families: ["gpt_neox"],
  needsHead: true,
  tell(spec) {
    const { rope, headDim } = attentionIn(spec);
    return {
      keys: {
        ...sizeKeys(spec),
        "attention.layer_norm_epsilon": ["F32", spec.finalNorm.epsilon],
        "rope.dimension_count": ["U32", rope?.dims ?? headDim],
        "rope.freq_base": ["F32", rope?.theta ?? 10_000],
        use_parallel_residual: ["BOOL", spec.blocks[0].parallel === true],
      },
    };
  },
  config(keys, arch, contents) {
    const { hidden, heads, headDim, rotated } = headDims(keys, arch, true);
    const { vocabSize, intermediate, layers, context, tied } = sizes(keys, arch, contents);
    return {
      ...{ architectures: ["GPTNeoXForCausalLM"], model_type: "gpt_neox" },
      vocab_size: vocabSize,
      hidden_size: hidden,
      intermediate_size: intermediate,
      num_hidden_layers: layers,
      num_attention_heads: heads,
      max_position_embeddings: context,
      hidden_act: "gelu",
      layer_norm_eps: keys.positive(`${arch}.attention.layer_norm_epsilon`),
      rotary_pct: rotated / headDim,
      rotary_emb_base: keys.positive(`${arch}.rope.freq_base`, 10_000),
      use_parallel_residual: keys.flag(`${arch}.use_parallel_residual`, true),
      attention_bias: contents.has("blk.0.attn_qkv.bias"),
      tie_word_embeddings: tied,
    };
  },
  outerNames: {
    token_embd: "gpt_neox.embed_in",
    output_norm: "gpt_neox.final_layer_norm",
    output: "embed_out",
  },
  blocks: "gpt_neox.layers.",
  blockNames: {
    attn_norm: "input_layernorm",
    attn_qkv: "attention.query_key_value",
    attn_output: "attention.dense",
    ffn_norm: "post_attention_layernorm",
    ffn_up: "mlp.dense_h_to_4h",
    ffn_down: "mlp.dense_4h_to_h",
  },
  changes: (keys, arch) => ({
    attn_qkv: { kind: "blocks", heads: keys.perLayer(`${arch}.attention.head_count`) },
  }),
  factors: [],
};
