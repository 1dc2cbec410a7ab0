import type { ModelFamily } from "../../model.js";
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
      scale: config.positive("attention_multiplier", 1),
      residualScale: config.positive("residual_multiplier", 1),
      embeddingScale: config.positive("embedding_multiplier", 1),
      logitScale: 1 / config.positive("logits_scaling", 1),
    });
  },
};
