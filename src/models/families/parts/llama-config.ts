import type { ConfigReader } from "../../../config-reader.js";
import { PenjingError } from "../../../errors.js";
import type { DecoderSpec, RopeSpec } from "../../../model.js";
import { type ActivationRule, checkActivation } from "./checks.js";
import { type LlamaBlockOptions, llamaBlock } from "./llama-block.js";
import { readRope } from "./rope-config.js";

/** What a family of the Llama kind adds to the fields that all of them share. */
export interface FamilyTraits
  extends Pick<LlamaBlockOptions, "biases" | "qkNorm">,
    Partial<
      Omit<LlamaBlockOptions, "rope" | "window" | "biases" | "qkNorm" | "epsilon" | "headDim">
    >,
    Pick<DecoderSpec, "embeddingScale" | "logitScale" | "needsBos"> {
  /** Where config.json gives no rms_norm_eps. @default 1e-6 */
  readonly epsilon?: number | undefined;
  /** Elements of a head. @default head_dim of config.json, else an equal share of the width */
  readonly headDim?: number | undefined;
  /** Positions that each layer's attention sees; undefined = all. */
  readonly windows: (layers: number) => readonly (number | undefined)[];
  /** How positions rotate queries and keys in each layer. @default as config.json says, in all */
  readonly ropes?:
    | ((layers: number, headDim: number) => readonly (RopeSpec | undefined)[])
    | undefined;
  /** The activation that is run, and the key under which config.json may name it. @default silu */
  readonly gate?: ActivationRule | undefined;
  /** Whether the head is the embedding where config.json does not say it. @default false */
  readonly tied?: boolean | undefined;
}

const SILU: ActivationRule = { key: "hidden_act", names: ["silu", "swish"], what: "SwiGLU" };

/**
 * Reads the fields that all families of the Llama kind share.
 *
 * @throws PenjingError for a missing or wrong field, an unsupported activation or rope type, or
 *   sizes that contradict one another
 */
export function readDecoder(
  config: ConfigReader,
  family: string,
  traits: FamilyTraits,
): DecoderSpec {
  const { windows, ropes, gate = SILU, tied = false, ...given } = traits;
  checkActivation(config, gate);
  const hiddenSize = config.count("hidden_size");
  const heads = config.count("num_attention_heads");
  const kvHeads = config.count("num_key_value_heads", heads);
  const layers = config.layers("num_hidden_layers");
  const headDim = given.headDim ?? config.count("head_dim", hiddenSize / heads);
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
  const intermediateSize = config.count("intermediate_size");
  const vocabSize = config.count("vocab_size");
  const context = config.count("max_position_embeddings");
  const epsilon = config.positive("rms_norm_eps", given.epsilon ?? 1e-6);
  const { embeddingScale, logitScale, needsBos, ...traitsOfBlocks } = given;
  const block = {
    ...traitsOfBlocks,
    ...{ hiddenSize, intermediateSize, heads, kvHeads, headDim, epsilon },
  };
  const { plusOne } = given;
  const rope = ropes ? undefined : readRope(config, { headDim });
  const ropeOf = ropes?.(layers, headDim);
  return {
    family,
    hiddenSize,
    vocabSize,
    context,
    blocks: windows(layers).map((window, layer) =>
      llamaBlock({ ...block, rope: ropeOf ? ropeOf[layer] : rope, window }),
    ),
    finalNorm: {
      ...{ kind: "rms", name: "norm", width: hiddenSize, epsilon },
      ...(plusOne && { plusOne }),
    },
    ...(embeddingScale !== undefined && { embeddingScale }),
    ...(logitScale !== undefined && { logitScale }),
    ...(needsBos !== undefined && { needsBos }),
    tiedHead: config.flag("tie_word_embeddings", tied),
    bosIds: config.ids("bos_token_id"),
    eosIds: config.ids("eos_token_id"),
  };
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
export function layerTypes(config: ConfigReader, layers: number): readonly unknown[] | undefined {
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
