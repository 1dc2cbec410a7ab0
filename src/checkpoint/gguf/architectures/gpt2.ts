import { type Architecture, sizes } from "./fields.js";
import { sizeKeys } from "./tell.js";

const FLIPPED = { kind: "transposed" } as const;

/** GPT-2, whose matrices lie the other way round in transformers. */
export const gpt2: Architecture = {
  families: ["gpt2"],
  tell: (spec) => ({
    keys: {
      ...sizeKeys(spec),
      "attention.layer_norm_epsilon": ["F32", spec.finalNorm.epsilon],
    },
  }),
  config(keys, arch, contents) {
    const { vocabSize, intermediate, layers, context, tied } = sizes(keys, arch, contents);
    return {
      ...{ architectures: ["GPT2LMHeadModel"], model_type: "gpt2" },
      vocab_size: vocabSize,
      n_embd: keys.count(`${arch}.embedding_length`),
      n_inner: intermediate,
      n_layer: layers,
      n_head: keys.perLayer(`${arch}.attention.head_count`),
      n_positions: context,
      activation_function: "gelu_new",
      layer_norm_epsilon: keys.positive(`${arch}.attention.layer_norm_epsilon`),
      tie_word_embeddings: tied,
    };
  },
  outerNames: {
    token_embd: "transformer.wte",
    position_embd: "transformer.wpe",
    output_norm: "transformer.ln_f",
    output: "lm_head",
  },
  blocks: "transformer.h.",
  blockNames: {
    attn_norm: "ln_1",
    attn_qkv: "attn.c_attn",
    attn_output: "attn.c_proj",
    ffn_norm: "ln_2",
    ffn_up: "mlp.c_fc",
    ffn_down: "mlp.c_proj",
  },
  changes: () => ({
    ...{ attn_qkv: FLIPPED, attn_output: FLIPPED },
    ...{ ffn_up: FLIPPED, ffn_down: FLIPPED },
  }),
  factors: [],
};
