import { fromFloat32, toFloat32 } from "../../checkpoint/dtype.js";
import type { ConfigReader } from "../../config-reader.js";
import { PenjingError } from "../../errors.js";
import type { ModelFamily, RopeSpec } from "../../model.js";
import { layerTypes, readDecoder } from "./parts/llama-config.js";
import { readRope } from "./parts/rope-config.js";

/** The types of layers that have a rope of their own. */
const TYPES = ["full_attention", "sliding_attention"];

/** Keys of values that change what is computed and that are not run here. */
const REFUSED = [
  "attn_logit_softcapping",
  "final_logit_softcapping",
  "use_bidirectional_attention",
];

/**
 * Gemma 3 (text: 270M, 1B): norms before and behind each layer with gains stored less 1, local layers
 * with a window and a rope of their own, scaled embeddings. Its results need a BOS token in front.
 */
export const gemma3_text: ModelFamily = {
  modelType: "gemma3_text",
  summary: "Gemma 3 (text), with local and global layers and norms around each",
  read(config) {
    const odd = REFUSED.find((key) => config.has(key) && config.raw(key) !== false);
    if (odd) {
      throw new PenjingError(
        config.where,
        `"${odd}" is set, which is not supported, so this model would be run wrong and is refused.`,
      );
    }
    const attention = config.flag("attention_bias", false);
    const spec = readDecoder(config, "gemma3_text", {
      windows: (layers) =>
        localLayers(config, layers).map((isLocal) =>
          isLocal ? config.count("sliding_window", 4096) : undefined,
        ),
      ropes(layers, headDim) {
        const { local, global } = readRopes(config, headDim);
        return localLayers(config, layers).map((isLocal) => (isLocal ? local : global));
      },
      biases: { qkv: attention, o: attention, mlp: false },
      gate: {
        key: "hidden_activation",
        names: ["gelu_pytorch_tanh"],
        what: "GELU in its tanh form",
      },
      activation: "gelu-tanh",
      qkNorm: true,
      plusOne: true,
      norms: {
        attention: { before: "input_layernorm", after: "post_attention_layernorm" },
        mlp: { before: "pre_feedforward_layernorm", after: "post_feedforward_layernorm" },
      },
      headDim: config.count("head_dim", 256),
      scale: 1 / Math.sqrt(config.positive("query_pre_attn_scalar", 256)),
      tied: true,
      needsBos: true,
    });
    return { ...spec, embeddingScale: embeddingScale(config, spec.hiddenSize) };
  },
};

/** sqrt(hiddenSize), rounded as programs do that compute in the weights' dtype. */
function embeddingScale(config: ConfigReader, hiddenSize: number): number {
  const scale = Float32Array.of(Math.sqrt(hiddenSize));
  const dtype = config.text("dtype", config.text("torch_dtype", "float32"));
  const stored = { float16: "F16", bfloat16: "BF16" } as const;
  if (!Object.hasOwn(stored, dtype)) return scale[0];
  const name = stored[dtype as keyof typeof stored];
  return toFloat32({ name: "scale", dtype: name }, fromFloat32(name, scale))[0];
}

/** Which layers are local: as `layer_types` says, or all but each sixth. */
function localLayers(config: ConfigReader, layers: number): boolean[] {
  const types = layerTypes(config, layers);
  if (types) return types.map((type) => type === "sliding_attention");
  const pattern = config.count("sliding_window_pattern", 6);
  return Array.from({ length: layers }, (_, layer) => (layer + 1) % pattern !== 0);
}

/** The two ropes: in config.json apart, or one with a base of its own for local layers. */
function readRopes(
  config: ConfigReader,
  headDim: number,
): { readonly local: RopeSpec; readonly global: RopeSpec } {
  const given = config.nested("rope_parameters");
  const isApart = TYPES.some((type) => given?.has(type));
  const odd = isApart ? given!.keys().find((key) => !TYPES.includes(key)) : undefined;
  if (odd) {
    throw new PenjingError(
      config.where,
      `"rope_parameters" has "${odd}" beside ${TYPES.join(" and ")}, which is not understood, so this model would be run wrong and is refused.`,
    );
  }
  const local = config.raw("rope_local_base_freq") ?? undefined;
  const plain = config.with({ rope_local_base_freq: undefined });
  const apart = (type: string, changes: object) =>
    plain.with({ ...changes, rope_parameters: given?.nested(type) && given.raw(type) });
  const global = isApart ? apart("full_attention", {}) : plain;
  const changes = { rope_theta: local, rope_scaling: undefined };
  const localConfig = isApart
    ? apart("sliding_attention", changes)
    : plain.with({ ...changes, rope_parameters: undefined });
  return {
    local: readRope(localConfig, { headDim }),
    global: readRope(global, { headDim, theta: 1e6 }),
  };
}
