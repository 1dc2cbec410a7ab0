import type { ModelFamily } from "../../model.js";
import { noWindows, readDecoder } from "./parts/llama-config.js";

/** OLMo 2: norms behind the layers and not before them, and over all queries and keys at once. */
export const olmo2: ModelFamily = {
  modelType: "olmo2",
  summary: "OLMo 2, with norms behind the layers and over whole queries and keys",
  read(config) {
    const attention = config.flag("attention_bias", false);
    return readDecoder(config, "olmo2", {
      windows: noWindows,
      biases: { qkv: attention, o: attention, mlp: false },
      qkNorm: "width",
      norms: {
        attention: { after: "post_attention_layernorm" },
        mlp: { after: "post_feedforward_layernorm" },
      },
      epsilon: 1e-5,
    });
  },
};
