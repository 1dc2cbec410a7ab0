import type { ModelFamily } from "../../model.js";
import { checkActivation, headSizes, refuseSet } from "./parts/checks.js";
import { classicDecoder } from "./parts/classic-decoder.js";

/** Rows of the table of positions that stand before that of the first position. */
const OFFSET = 2;

/**
 * OPT but for 350M: LayerNorms before its layers, learned positions from the third row on, ReLU. Its
 * results need the token </s> in front.
 */
export const opt: ModelFamily = {
  modelType: "opt",
  summary: "OPT (but 350M), with LayerNorms, learned positions and ReLU",
  read(config) {
    checkActivation(config, { key: "activation_function", names: ["relu"], what: "max(x, 0)" });
    refuseSet(config, { do_layer_norm_before: true, layer_norm_elementwise_affine: true });
    refuseSet(config, { _remove_final_layer_norm: false });
    const { hiddenSize, heads } = headSizes(config, "hidden_size", "num_attention_heads");
    refuseSet(config, { word_embed_proj_dim: hiddenSize });
    const bias = config.flag("enable_bias", true);
    return classicDecoder(config, {
      family: "opt",
      ...{ hiddenSize, heads },
      intermediateSize: config.count("ffn_dim"),
      context: config.count("max_position_embeddings"),
      layers: config.layers("num_hidden_layers"),
      epsilon: 1e-5,
      rope: undefined,
      biases: { qkv: bias, o: bias, mlp: bias },
      activation: "relu",
      names: {
        ...{ base: "model.decoder.", blocks: "layers", embedding: "embed_tokens" },
        ...{ positions: "embed_positions", finalNorm: "final_layer_norm", head: "lm_head" },
      },
      positions: { offset: OFFSET },
      parts: {
        norms: { attention: "self_attn_layer_norm", mlp: "final_layer_norm" },
        attention: "self_attn",
        linears: { o: "out_proj" },
        mlp: { up: "fc1", down: "fc2" },
      },
      tied: true,
      needsBos: true,
    });
  },
};
