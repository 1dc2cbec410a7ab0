import type { ConfigReader } from "../../../config-reader.js";

/** The numbers that Granite multiplies scores, residuals, embeddings and logits by. */
export function graniteScales(config: ConfigReader) {
  return {
    scale: config.positive("attention_multiplier", 1),
    residualScale: config.positive("residual_multiplier", 1),
    embeddingScale: config.positive("embedding_multiplier", 1),
    logitScale: 1 / config.positive("logits_scaling", 1),
  };
}
