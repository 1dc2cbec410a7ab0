import {
  type Architecture,
  LLAMA_BLOCK,
  LLAMA_OUTER,
  llamaChanges,
  llamaFields,
} from "./fields.js";

/**
 * Granite 3, and Granite 4 without Mamba layers and experts, whose gate and up llama.cpp's converter takes
 * apart, so that it is a Granite 3.
 */
export const granite: Architecture = {
  config(keys, arch, contents) {
    const of = (key: string) => `${arch}.${key}`;
    const fields = llamaFields(keys, arch, contents);
    if (!keys.flag(of("rope.scaling.finetuned"), true)) {
      keys.fail(of("rope.scaling.finetuned"), "true: only models with rotary positions are read");
    }
    // Granite 4 has its own key, and tells of Mamba layers, of which it has none.
    const shared = keys.whole(of("expert_shared_feed_forward_length")) ?? 0;
    for (const key of keys.unread(of("ssm."))) keys.has(key);
    return {
      ...{ architectures: ["GraniteForCausalLM"], model_type: "granite", ...fields },
      ...(shared > 0 && { intermediate_size: shared }),
      attention_bias: contents.has("blk.0.attn_q.bias"),
      mlp_bias: contents.has("blk.0.ffn_up.bias"),
      attention_multiplier: keys.positive(of("attention.scale"), 1 / Math.sqrt(fields.head_dim)),
      embedding_multiplier: keys.positive(of("embedding_scale"), 1),
      residual_multiplier: keys.positive(of("residual_scale"), 1),
      logits_scaling: keys.positive(of("logit_scale"), 1),
    };
  },
  outerNames: LLAMA_OUTER,
  blockNames: LLAMA_BLOCK,
  changes: llamaChanges,
};
