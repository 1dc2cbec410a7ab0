import type { ModelFamily } from "../../model.js";
import { readDecoder, upperLayerWindows } from "./parts/llama-config.js";

/** Qwen3 (dense): RMSNorm on each head's queries and keys, and a head size of its own. */
export const qwen3: ModelFamily = {
  modelType: "qwen3",
  summary: "Qwen3, with query and key normalisation and an explicit head size",
  read(config) {
    const attention = config.flag("attention_bias", false);
    return readDecoder(config, "qwen3", {
      windows: (layers) => upperLayerWindows(config, layers),
      biases: { qkv: attention, o: attention, mlp: false },
      qkNorm: true,
    });
  },
};
