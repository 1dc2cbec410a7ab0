import {
  type Architecture,
  LLAMA_BLOCK,
  LLAMA_OUTER,
  llamaChanges,
  llamaFields,
} from "./fields.js";
import { llamaTold } from "./tell.js";

/** SmolLM3, of which no key says that each fourth layer is not rotated. */
export const smollm3: Architecture = {
  families: ["smollm3"],
  tell: (spec) => llamaTold(spec),
  config: (keys, arch, contents) => ({
    ...{ architectures: ["SmolLM3ForCausalLM"], model_type: "smollm3" },
    ...llamaFields(keys, arch, contents),
    attention_bias: contents.has("blk.0.attn_q.bias"),
    mlp_bias: contents.has("blk.0.ffn_up.bias"),
    no_rope_layer_interval: 4,
    use_sliding_window: false,
  }),
  outerNames: LLAMA_OUTER,
  blockNames: LLAMA_BLOCK,
  changes: llamaChanges,
};
