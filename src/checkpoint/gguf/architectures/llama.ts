import {
  type Architecture,
  LLAMA_BLOCK,
  LLAMA_OUTER,
  llamaChanges,
  llamaFields,
} from "./fields.js";
import { attentionIn, llamaTold, windowNotes } from "./tell.js";

const names = { outerNames: LLAMA_OUTER, blockNames: LLAMA_BLOCK };

/** Llama, and Mistral, which llama.cpp tells from it by its window alone. */
export const llama: Architecture = {
  ...names,
  families: ["llama", "mistral"],
  tell(spec) {
    const { keys, factors } = llamaTold(spec);
    const { window } = attentionIn(spec);
    return {
      keys: {
        ...keys,
        ...(window !== undefined && { "attention.sliding_window": ["U32", window] as const }),
      },
      ...{ factors, notes: windowNotes(spec) },
    };
  },
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
  changes: llamaChanges,
};

export const qwen2: Architecture = {
  ...names,
  families: ["qwen2"],
  tell: (spec) => llamaTold(spec),
  config: (keys, arch, contents) => ({
    ...{ architectures: ["Qwen2ForCausalLM"], model_type: "qwen2" },
    ...llamaFields(keys, arch, contents),
    use_sliding_window: false,
  }),
};

export const qwen3: Architecture = {
  ...names,
  families: ["qwen3"],
  tell: (spec) => llamaTold(spec),
  config: (keys, arch, contents) => ({
    ...{ architectures: ["Qwen3ForCausalLM"], model_type: "qwen3" },
    ...llamaFields(keys, arch, contents),
    attention_bias: contents.has("blk.0.attn_q.bias"),
    use_sliding_window: false,
  }),
};
