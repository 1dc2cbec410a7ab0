import type { ModelFamily } from "../../model.js";
import { graniteScales } from "./parts/granite-scales.js";
import { noWindows, readDecoder } from "./parts/llama-config.js";

/** Granite 3: Llama with four numbers that embeddings, scores, residuals and logits are scaled by. */
export const granite: ModelFamily = {
  modelType: "granite",
  summary: "Granite 3 (dense), with scaled embeddings, residuals, scores and logits",
  read(config) {
    const attention = config.flag("attention_bias", false);
    return readDecoder(config, "granite", {
      windows: noWindows,
      biases: { qkv: attention, o: attention, mlp: config.flag("mlp_bias", false) },
      qkNorm: false,
      ...graniteScales(config),
    });
  },
};
