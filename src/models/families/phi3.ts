import type { ModelFamily } from "../../model.js";
import { readDecoder } from "./parts/llama-config.js";
import { readOriginalContext, readRope } from "./parts/rope-config.js";

/** Positions that long-context models were first made for, where config.json does not say it. */
const ORIGINAL_CONTEXT = 4096;

/**
 * Phi-3, Phi-3.5 and Phi-4-mini: queries, keys and values from one linear, gate and up from another;
 * LongRoPE, for which the context ends where the model's first one did; perhaps partial rotation.
 */
export const phi3: ModelFamily = {
  modelType: "phi3",
  summary: "Phi-3 and Phi-4-mini, with fused linears, partial rotation and LongRoPE",
  read(given) {
    const key = "original_max_position_embeddings";
    const config = given.has(key) ? given : given.with({ [key]: ORIGINAL_CONTEXT });
    const scaling = config.nested("rope_parameters") ?? config.nested("rope_scaling");
    const window = config.has("sliding_window") ? config.count("sliding_window") : undefined;
    const spec = readDecoder(config, "phi3", {
      windows: (layers) => Array.from({ length: layers }, () => window),
      ropes(layers, headDim) {
        const types = ["default", "longrope"];
        const rope = readRope(config, { headDim, share: 1, types });
        return Array.from({ length: layers }, () => rope);
      },
      biases: { qkv: false, o: false, mlp: false },
      qkNorm: false,
      fused: "parts",
      fusedMlp: true,
      epsilon: 1e-5,
    });
    const isLong = spec.blocks.some(
      ({ branches: [{ layer }] }) => layer.kind === "attention" && layer.rope?.longrope,
    );
    if (!isLong) return spec;
    return { ...spec, context: Math.min(spec.context, readOriginalContext(config, scaling!)) };
  },
};
