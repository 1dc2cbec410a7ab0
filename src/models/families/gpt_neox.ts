import type { ModelFamily } from "../../model.js";
import { checkActivation, headSizes } from "./parts/checks.js";
import { classicDecoder } from "./parts/classic-decoder.js";
import { readRope } from "./parts/rope-config.js";

/**
 * GPT-NeoX (Pythia): LayerNorms, attention and feed-forward side by side, positions that rotate a part
 * of each head, and one linear whose outputs are query, key and value of one head after the other.
 */
export const gpt_neox: ModelFamily = {
  modelType: "gpt_neox",
  summary: "GPT-NeoX (Pythia), with attention and feed-forward side by side",
  read(config) {
    checkActivation(config, {
      key: "hidden_act",
      names: ["gelu"],
      what: "GELU by the error function",
    });
    const { hiddenSize, heads, headDim } = headSizes(config, "hidden_size", "num_attention_heads");
    const attention = config.flag("attention_bias", true);
    const rope = readRope(
      config.with({
        ...{ rotary_pct: undefined, rotary_emb_base: undefined },
        rope_theta: config.raw("rope_theta") ?? config.raw("rotary_emb_base"),
        partial_rotary_factor: config.raw("partial_rotary_factor") ?? config.raw("rotary_pct"),
      }),
      { headDim, share: 0.25 },
    );
    return classicDecoder(config, {
      family: "gpt_neox",
      ...{ hiddenSize, heads, rope },
      intermediateSize: config.count("intermediate_size"),
      context: config.count("max_position_embeddings"),
      layers: config.layers("num_hidden_layers"),
      epsilon: config.positive("layer_norm_eps", 1e-5),
      biases: { qkv: attention, o: attention, mlp: true },
      fused: "heads",
      activation: "gelu",
      parallel: config.flag("use_parallel_residual", true),
      names: {
        ...{ base: "gpt_neox.", blocks: "layers", embedding: "embed_in" },
        ...{ finalNorm: "final_layer_norm", head: "embed_out" },
      },
      buffers: ["attention.bias", "attention.masked_bias"],
      parts: {
        norms: { attention: "input_layernorm", mlp: "post_attention_layernorm" },
        attention: "attention",
        linears: { qkv: "query_key_value", o: "dense" },
        mlp: { up: "mlp.dense_h_to_4h", down: "mlp.dense_4h_to_h" },
      },
      tied: false,
    });
  },
};
