import type { ModelFamily } from "../../model.js";
import { checkActivation, headSizes, refuseSet } from "./parts/checks.js";
import { classicDecoder } from "./parts/classic-decoder.js";

/**
 * GPT-2: LayerNorms, learned positions, one linear for queries, keys and values, and weights that
 * are stored as [inFeatures, outFeatures].
 */
export const gpt2: ModelFamily = {
  modelType: "gpt2",
  summary: "GPT-2, with LayerNorms, learned positions and transposed weights",
  read(config) {
    checkActivation(config, {
      key: "activation_function",
      names: ["gelu_new", "gelu_pytorch_tanh"],
      what: "GELU in its tanh form",
    });
    refuseSet(config, { scale_attn_weights: true, scale_attn_by_inverse_layer_idx: false });
    refuseSet(config, { add_cross_attention: false });
    const { hiddenSize, heads } = headSizes(config, "n_embd", "n_head");
    return classicDecoder(config, {
      family: "gpt2",
      ...{ hiddenSize, heads },
      intermediateSize: config.count("n_inner", 4 * hiddenSize),
      context: config.count("n_positions"),
      layers: config.layers("n_layer"),
      epsilon: config.positive("layer_norm_epsilon", 1e-5),
      rope: undefined,
      biases: { qkv: true, o: true, mlp: true },
      fused: "parts",
      transposed: true,
      activation: "gelu-tanh",
      names: {
        ...{ base: "transformer.", blocks: "h", embedding: "wte", positions: "wpe" },
        ...{ finalNorm: "ln_f", head: "lm_head" },
      },
      positions: { offset: 0 },
      buffers: ["attn.bias", "attn.masked_bias"],
      parts: {
        norms: { attention: "ln_1", mlp: "ln_2" },
        attention: "attn",
        linears: { qkv: "c_attn", o: "c_proj" },
        mlp: { up: "mlp.c_fc", down: "mlp.c_proj" },
      },
      tied: true,
    });
  },
};
