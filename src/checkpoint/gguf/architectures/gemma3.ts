import { attentionOf, type DecoderSpec } from "../../../model.js";
import type { Keys } from "../keys.js";
import type { KeyValues } from "../write/values.js";
import { type Architecture, LLAMA_BLOCK, LLAMA_OUTER, llamaFields } from "./fields.js";
import { llamaTold } from "./tell.js";

/** Each of so many layers is global, the others have a window, where the file does not say it. */
const PERIOD = 6;
/** Layers of the only model whose scores are scaled by its width. */
const LAYERS_OF_27B = 62;

const LESS_ONE = { kind: "plusOne" } as const;

/**
 * Gemma 3 (text). How scores are scaled is in no key: by the width of a head, but for the model of 27B,
 * as llama.cpp has it.
 */
export const gemma3: Architecture = {
  families: ["gemma3_text"],
  tell(spec) {
    const layers = spec.blocks.map(attentionOf);
    const isLocal = layers.map(({ window }) => window !== undefined);
    const local = layers.find(({ window }) => window !== undefined);
    const global = layers.find(({ window }) => window === undefined) ?? local;
    const { keys, factors } = llamaTold(spec, global?.rope);
    return {
      keys: {
        ...keys,
        "attention.sliding_window": ["U32", local?.window ?? 0],
        ...pattern(isLocal),
        ...(local?.rope && { "rope.freq_base_swa": ["F32", local.rope.theta] as const }),
      },
      ...{ factors, notes: scaleNotes(spec) },
    };
  },
  config(keys, arch, contents) {
    const { hidden_act: _, ...fields } = llamaFields(keys, arch, contents);
    const { num_hidden_layers: layers, num_attention_heads: heads, hidden_size: hidden } = fields;
    const window = keys.whole(`${arch}.attention.sliding_window`) ?? 0;
    const isLocal = localLayers(keys, `${arch}.attention.sliding_window_pattern`, layers);
    const types = isLocal.map((local) => (local && window > 0 ? "sliding" : "full"));
    return {
      ...{ architectures: ["Gemma3ForCausalLM"], model_type: "gemma3_text", ...fields },
      hidden_activation: "gelu_pytorch_tanh",
      query_pre_attn_scalar: layers === LAYERS_OF_27B ? hidden / heads : fields.head_dim,
      layer_types: types.map((type) => `${type}_attention`),
      ...(window > 0 && { sliding_window: window }),
      rope_local_base_freq: keys.positive(`${arch}.rope.freq_base_swa`, 10_000),
    };
  },
  outerNames: LLAMA_OUTER,
  blockNames: {
    ...LLAMA_BLOCK,
    post_attention_norm: "post_attention_layernorm",
    ffn_norm: "pre_feedforward_layernorm",
    post_ffw_norm: "post_feedforward_layernorm",
  },
  changes: () => ({
    ...{ output_norm: LESS_ONE, attn_norm: LESS_ONE, attn_q_norm: LESS_ONE, attn_k_norm: LESS_ONE },
    ...{ post_attention_norm: LESS_ONE, ffn_norm: LESS_ONE, post_ffw_norm: LESS_ONE },
  }),
};

/** Which layers are local, in a key where the usual number does not say it. */
function pattern(isLocal: readonly boolean[]): KeyValues {
  const period = isLocal.indexOf(false) + 1 || isLocal.length + 1;
  const isPeriodic = isLocal.every((local, layer) => local === ((layer + 1) % period !== 0));
  if (isPeriodic && period === PERIOD) return {};
  const key = "attention.sliding_window_pattern";
  return isPeriodic ? { [key]: ["U32", period] } : { [key]: ["BOOL", isLocal] };
}

/** Embeddings are scaled by a number in the weights' type, which llama.cpp takes in f32. */
function scaleNotes({ embeddingScale = 1, hiddenSize }: DecoderSpec): string[] {
  const own = Math.fround(Math.sqrt(hiddenSize));
  if (embeddingScale === own) return [];
  return [
    `its embeddings are scaled by ${embeddingScale}, which is ${own} rounded to the type that config.json names; llama.cpp takes ${own}`,
  ];
}

/** Which layers are local: a list of them, or all but each so manieth. */
function localLayers(keys: Keys, key: string, layers: number): boolean[] {
  if (!keys.isList(key)) {
    const period = keys.count(key, PERIOD);
    return Array.from({ length: layers }, (_, layer) => (layer + 1) % period !== 0);
  }
  const flags = keys.list(key)!.flags();
  return flags.length === layers ? flags : keys.fail(key, `a list of ${layers} booleans`);
}
