import type { ModelFamily } from "../../model.js";
import { readDecoder, upperLayerWindows } from "./parts/llama-config.js";

/** Qwen2 and Qwen2.5: biases on q, k and v; an optional window in the upper layers. */
export const qwen2: ModelFamily = {
  modelType: "qwen2",
  summary: "Qwen2 and Qwen2.5, with query, key and value biases",
  read(config) {
    return readDecoder(config, "qwen2", {
      windows: (layers) => upperLayerWindows(config, layers),
      biases: { qkv: true, o: false, mlp: false },
      qkNorm: false,
    });
  },
};
