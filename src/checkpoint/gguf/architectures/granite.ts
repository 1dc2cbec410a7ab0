import {
  type Architecture,
  LLAMA_BLOCK,
  LLAMA_OUTER,
  llamaChanges,
  llamaFields,
} from "./fields.js";
import { attentionIn, llamaTold } from "./tell.js";

/**
 * Granite 3, and Granite 4 without Mamba layers and experts, whose gate and up llama.cpp's converter takes
 * apart, so that it is a Granite 3.
 */
export const granite: Architecture = {
  families: ["granite", "granitemoehybrid"],
  tell(spec) {
    const { keys, factors } = llamaTold(spec);
    const { scale, headDim } = attentionIn(spec);
    return {
      keys: {
        ...keys,
        "attention.scale": ["F32", scale ?? 1 / Math.sqrt(headDim)],
        embedding_scale: ["F32", spec.embeddingScale ?? 1],
        residual_scale: ["F32", spec.blocks[0].branches[0].scale ?? 1],
        logit_scale: ["F32", 1 / (spec.logitScale ?? 1)],
      },
      factors,
    };
  },
  alsoNamed: {
    "shared_mlp.input_linear": ["ffn_gate", "ffn_up"],
    "shared_mlp.output_linear": ["ffn_down"],
  },
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
