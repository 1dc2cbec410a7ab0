import type { ConfigReader } from "./config-reader.js";
import { PenjingError } from "./errors.js";

/** Rotary position embedding. */
export interface RopeSpec {
  /** Base of the geometric series of wavelengths. */
  readonly theta: number;
  /** Llama-3's stretching of long wavelengths; wavelengths are in positions. */
  readonly llama3?: {
    readonly factor: number;
    readonly lowFreqFactor: number;
    readonly highFreqFactor: number;
    readonly originalContext: number;
  };
}

/**
 * A decoder-only transformer of the Llama kind (pre-RMSNorm, rotary grouped-query attention, SwiGLU)
 * as far as it varies over the families read here. Tensor names are Hugging Face's.
 */
export interface DecoderSpec {
  readonly family: string;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocabSize: number;
  /** Longest sequence that the model was made for. */
  readonly context: number;
  readonly rmsNormEps: number;
  readonly rope: RopeSpec;
  /** Positions that each layer's attention sees; undefined = all. Length `layers`. */
  readonly windows: readonly (number | undefined)[];
  /** The output head reuses the embedding. */
  readonly tiedHead: boolean;
  readonly biases: { readonly qkv: boolean; readonly o: boolean; readonly mlp: boolean };
  /** RMSNorm over each head's queries and keys before the rotation. */
  readonly qkNorm: boolean;
  readonly bosIds: readonly number[];
  readonly eosIds: readonly number[];
}

/** A model family: turns its config.json into a decoder, or refuses what it cannot run. */
export interface ModelFamily {
  /** `model_type` in config.json. */
  readonly modelType: string;
  readonly summary: string;
  read(config: ConfigReader): DecoderSpec;
}

/** What a family adds to the fields that all families share. */
export interface FamilyTraits {
  readonly windows: (layers: number) => readonly (number | undefined)[];
  readonly biases: DecoderSpec["biases"];
  readonly qkNorm: boolean;
}

/**
 * Reads the fields that all families share.
 *
 * @throws PenjingError for a missing or wrong field, an unsupported activation or rope type, or
 *   sizes that contradict one another
 */
export function readDecoder(
  config: ConfigReader,
  family: string,
  traits: FamilyTraits,
): DecoderSpec {
  const activation = config.text("hidden_act", "silu");
  if (activation !== "silu") {
    throw new PenjingError(
      config.where,
      `hidden_act is "${activation}"; only "silu" (SwiGLU) is supported, so this model cannot be run here.`,
    );
  }
  const hiddenSize = config.count("hidden_size");
  const heads = config.count("num_attention_heads");
  const kvHeads = config.count("num_key_value_heads", heads);
  const layers = config.count("num_hidden_layers");
  const headDim = config.count("head_dim", hiddenSize / heads);
  if (heads % kvHeads !== 0) {
    throw new PenjingError(
      config.where,
      `num_key_value_heads ${kvHeads} does not divide num_attention_heads ${heads}; take config.json from the model's own folder.`,
    );
  }
  if (!Number.isInteger(headDim) || headDim % 2 !== 0) {
    throw new PenjingError(
      config.where,
      `a head of ${headDim} elements cannot be rotated, it must be an even whole number; set head_dim or take config.json from the model's own folder.`,
    );
  }
  return {
    family,
    hiddenSize,
    intermediateSize: config.count("intermediate_size"),
    layers,
    heads,
    kvHeads,
    headDim,
    vocabSize: config.count("vocab_size"),
    context: config.count("max_position_embeddings"),
    rmsNormEps: config.positive("rms_norm_eps", 1e-6),
    rope: readRope(config),
    windows: traits.windows(layers),
    tiedHead: config.flag("tie_word_embeddings", false),
    biases: traits.biases,
    qkNorm: traits.qkNorm,
    bosIds: config.ids("bos_token_id"),
    eosIds: config.ids("eos_token_id"),
  };
}

function readRope(config: ConfigReader): RopeSpec {
  // Newer checkpoints put theta and scaling together under rope_parameters.
  const scaling = config.nested("rope_scaling") ?? config.nested("rope_parameters");
  const theta = config.has("rope_theta")
    ? config.positive("rope_theta")
    : (scaling?.positive("rope_theta", 10000) ?? 10000);
  for (const reader of [config, scaling]) {
    const share = reader?.positive("partial_rotary_factor", 1) ?? 1;
    if (share === 1) continue;
    throw new PenjingError(
      config.where,
      `partial_rotary_factor is ${share}; only whole heads are rotated here, so this model would be run wrong and is refused.`,
    );
  }
  const type = scaling?.text("rope_type", scaling.text("type", "default")) ?? "default";
  if (type === "default") return { theta };
  if (type !== "llama3") {
    throw new PenjingError(
      config.where,
      `rope type "${type}" is not supported; only "default" and "llama3" are, so this model would be run wrong and is refused.`,
    );
  }
  return {
    theta,
    llama3: {
      factor: scaling!.positive("factor"),
      lowFreqFactor: scaling!.positive("low_freq_factor"),
      highFreqFactor: scaling!.positive("high_freq_factor"),
      originalContext: scaling!.count("original_max_position_embeddings"),
    },
  };
}

/** The seven prunable linears of a decoder block, in the order in which a forward uses them. */
export const LINEAR_NAMES = [
  "self_attn.q_proj",
  "self_attn.k_proj",
  "self_attn.v_proj",
  "self_attn.o_proj",
  "mlp.gate_proj",
  "mlp.up_proj",
  "mlp.down_proj",
] as const;

export type LinearName = (typeof LINEAR_NAMES)[number];

/** Name of a block's parameter, such as "model.layers.3.mlp.up_proj.weight". */
export function blockTensor(layer: number, name: string): string {
  return `model.layers.${layer}.${name}`;
}

export const EMBEDDING = "model.embed_tokens.weight";
export const FINAL_NORM = "model.norm.weight";
export const HEAD = "lm_head.weight";

/** [outFeatures, inFeatures] of each linear of a block. */
export function linearShapes(spec: DecoderSpec): Readonly<Record<LinearName, [number, number]>> {
  const { hiddenSize, intermediateSize } = spec;
  const [q, kv] = [spec.heads * spec.headDim, spec.kvHeads * spec.headDim];
  return {
    "self_attn.q_proj": [q, hiddenSize],
    "self_attn.k_proj": [kv, hiddenSize],
    "self_attn.v_proj": [kv, hiddenSize],
    "self_attn.o_proj": [hiddenSize, q],
    "mlp.gate_proj": [intermediateSize, hiddenSize],
    "mlp.up_proj": [intermediateSize, hiddenSize],
    "mlp.down_proj": [hiddenSize, intermediateSize],
  };
}

/** Whether a linear of this decoder has a bias. */
export function hasBias(spec: DecoderSpec, name: LinearName): boolean {
  if (name.startsWith("mlp.")) return spec.biases.mlp;
  return name === "self_attn.o_proj" ? spec.biases.o : spec.biases.qkv;
}

/**
 * Name and shape of every tensor of the decoder. The head is left out when it is tied; see
 * `weights.ts` for checkpoints that store a tied pair under the head's name.
 */
export function decoderTensors(spec: DecoderSpec): Map<string, readonly number[]> {
  const tensors = new Map<string, readonly number[]>();
  tensors.set(EMBEDDING, [spec.vocabSize, spec.hiddenSize]);
  const shapes = linearShapes(spec);
  for (let layer = 0; layer < spec.layers; layer++) {
    tensors.set(blockTensor(layer, "input_layernorm.weight"), [spec.hiddenSize]);
    tensors.set(blockTensor(layer, "post_attention_layernorm.weight"), [spec.hiddenSize]);
    if (spec.qkNorm) {
      tensors.set(blockTensor(layer, "self_attn.q_norm.weight"), [spec.headDim]);
      tensors.set(blockTensor(layer, "self_attn.k_norm.weight"), [spec.headDim]);
    }
    for (const name of LINEAR_NAMES) {
      tensors.set(blockTensor(layer, `${name}.weight`), shapes[name]);
      if (hasBias(spec, name)) tensors.set(blockTensor(layer, `${name}.bias`), [shapes[name][0]]);
    }
  }
  tensors.set(FINAL_NORM, [spec.hiddenSize]);
  if (!spec.tiedHead) tensors.set(HEAD, [spec.vocabSize, spec.hiddenSize]);
  return tensors;
}

/** All layers without a window. */
export function noWindows(layers: number): undefined[] {
  return Array.from({ length: layers }, () => undefined);
}

/**
 * Qwen's windows: with `use_sliding_window`, the layers from `max_window_layers` on (or those that
 * `layer_types` calls "sliding_attention") see `sliding_window` positions.
 */
export function upperLayerWindows(config: ConfigReader, layers: number): (number | undefined)[] {
  if (!config.flag("use_sliding_window", false)) return noWindows(layers);
  const window = config.count("sliding_window");
  const types = layerTypes(config, layers);
  const first = types ? 0 : config.whole("max_window_layers", layers);
  return Array.from({ length: layers }, (_, layer) => {
    const slides = types ? types[layer] === "sliding_attention" : layer >= first;
    return slides ? window : undefined;
  });
}

const LAYER_TYPES: readonly unknown[] = ["full_attention", "sliding_attention"];

/** The list under `layer_types`, one entry for each layer; undefined when there is none. */
function layerTypes(config: ConfigReader, layers: number): readonly unknown[] | undefined {
  if (!config.has("layer_types")) return undefined;
  const types = [config.raw("layer_types")].flat();
  const cure = "take config.json from the model's own folder.";
  if (types.length !== layers) {
    throw new PenjingError(
      config.where,
      `"layer_types" names ${types.length} layers, must name ${layers}; ${cure}`,
    );
  }
  const unknown = types.find((type) => !LAYER_TYPES.includes(type));
  if (unknown !== undefined) {
    throw new PenjingError(
      config.where,
      `"layer_types" has ${JSON.stringify(unknown)}, only ${LAYER_TYPES.join(" and ")} can be run; ${cure}`,
    );
  }
  return types;
}

/** The linear whose input each linear shares: statistics of one serve the others. */
export const SHARED_INPUT: Readonly<Record<LinearName, LinearName>> = {
  "self_attn.q_proj": "self_attn.q_proj",
  "self_attn.k_proj": "self_attn.q_proj",
  "self_attn.v_proj": "self_attn.q_proj",
  "self_attn.o_proj": "self_attn.o_proj",
  "mlp.gate_proj": "mlp.gate_proj",
  "mlp.up_proj": "mlp.gate_proj",
  "mlp.down_proj": "mlp.down_proj",
};
