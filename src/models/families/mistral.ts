import type { ModelFamily } from "../../model.js";
import { readDecoder } from "./parts/llama-config.js";

/** Mistral 7B and its relatives: Llama with an optional sliding window in every layer. */
export const mistral: ModelFamily = {
  modelType: "mistral",
  summary: "Mistral, with sliding-window attention",
  read(config) {
    const window = config.has("sliding_window") ? config.count("sliding_window") : undefined;
    return readDecoder(config, "mistral", {
      windows: (layers) => Array.from({ length: layers }, () => window),
      biases: { qkv: false, o: false, mlp: false },
      qkNorm: false,
    });
  },
};
