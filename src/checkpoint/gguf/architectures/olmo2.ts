import { type Architecture, LLAMA_BLOCK, LLAMA_OUTER, llamaFields } from "./fields.js";
import { llamaTold } from "./tell.js";

/** There are no norms before layers. */
const { attn_norm: _, ffn_norm: __, ...block } = LLAMA_BLOCK;

/** OLMo 2. OLMo 3 is told from it by its window, a key that is not understood here. */
export const olmo2: Architecture = {
  families: ["olmo2"],
  needsHead: true,
  tell: (spec) => llamaTold(spec),
  config: (keys, arch, contents) => ({
    ...{ architectures: ["Olmo2ForCausalLM"], model_type: "olmo2" },
    ...llamaFields(keys, arch, contents),
    attention_bias: contents.has("blk.0.attn_q.bias"),
  }),
  outerNames: LLAMA_OUTER,
  blockNames: {
    ...block,
    post_attention_norm: "post_attention_layernorm",
    post_ffw_norm: "post_feedforward_layernorm",
  },
};
