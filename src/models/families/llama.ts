import type { ModelFamily } from "../../model.js";
import { noWindows, readDecoder } from "./parts/llama-config.js";

/** Llama 2, 3, 3.1 and 3.2 (text), and the many models that share its config. */
export const llama: ModelFamily = {
  modelType: "llama",
  summary: "Llama 2 and 3",
  read(config) {
    const attention = config.flag("attention_bias", false);
    return readDecoder(config, "llama", {
      windows: noWindows,
      biases: { qkv: attention, o: attention, mlp: config.flag("mlp_bias", false) },
      qkNorm: false,
    });
  },
};
