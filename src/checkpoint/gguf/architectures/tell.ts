/** What keys say of a decoder, for the families of the Llama kind and for others. */
import {
  type AttentionSpec,
  attentionOf,
  type DecoderSpec,
  type RopeSpec,
} from "../../../model.js";
import { llama3Divisors, ROPE_FREQS } from "../rope.js";
import type { KeyValues } from "../write/values.js";
import type { Told } from "./fields.js";

/** Neurons of the feed-forward. */
function intermediateOf({ blocks }: DecoderSpec): number {
  for (const { layer } of blocks[0].branches) {
    if (layer.kind !== "attention") return layer.sites.down.shape[1];
  }
  throw new Error("a block without a feed-forward");
}

/** The attention of the first block, which tells of all where keys have no words for each. */
export function attentionIn({ blocks }: DecoderSpec): AttentionSpec {
  return attentionOf(blocks[0]);
}

/** Sizes that every family has keys for. */
export function sizeKeys(spec: DecoderSpec, context = spec.context): KeyValues {
  return {
    context_length: ["U32", context],
    embedding_length: ["U32", spec.hiddenSize],
    block_count: ["U32", spec.blocks.length],
    feed_forward_length: ["U32", intermediateOf(spec)],
    "attention.head_count": ["U32", attentionIn(spec).heads],
    vocab_size: ["U32", spec.vocabSize],
  };
}

/** The keys of the Llama kind, the rope's scaling aside. */
export function plainKeys(spec: DecoderSpec, rope: RopeSpec | undefined, context?: number) {
  const { kvHeads, headDim } = attentionIn(spec);
  return {
    ...sizeKeys(spec, context),
    "attention.head_count_kv": ["U32", kvHeads],
    "attention.key_length": ["U32", headDim],
    "attention.value_length": ["U32", headDim],
    "attention.layer_norm_rms_epsilon": ["F32", spec.finalNorm.epsilon],
    "rope.dimension_count": ["U32", rope?.dims ?? headDim],
    "rope.freq_base": ["F32", rope?.theta ?? 10_000],
  } satisfies KeyValues;
}

/** How wavelengths are stretched, in keys. */
function scalingKeys({ linear, yarn }: RopeSpec): KeyValues {
  if (linear) {
    return {
      "rope.scaling.type": ["STRING", "linear"],
      "rope.scaling.factor": ["F32", linear.factor],
    };
  }
  if (!yarn) return {};
  return {
    "rope.scaling.type": ["STRING", "yarn"],
    "rope.scaling.factor": ["F32", yarn.factor],
    "rope.scaling.original_context_length": ["U32", yarn.originalContext],
    "rope.scaling.yarn_beta_fast": ["F32", yarn.betaFast],
    "rope.scaling.yarn_beta_slow": ["F32", yarn.betaSlow],
  };
}

/** The first of the layers' ropes, which is that of all but the layers without one. */
export function ropeIn({ blocks }: DecoderSpec): RopeSpec | undefined {
  return blocks.map((block) => attentionOf(block).rope).find((rope) => rope !== undefined);
}

/** What llama.cpp does with windows that it has no use for. */
export function windowNotes({ blocks, context }: DecoderSpec): string[] {
  const windows = blocks.map((block) => attentionOf(block).window ?? context);
  const least = windows.reduce((one, other) => Math.min(one, other));
  if (least >= context) return [];
  return [
    `its attention sees ${least} positions, but llama.cpp lets models of this architecture see all: of longer texts it computes something else`,
  ];
}

/** All that the families of the Llama kind share. */
export function llamaTold(spec: DecoderSpec, rope = ropeIn(spec)): Told {
  const keys = { ...plainKeys(spec, rope), ...(rope && scalingKeys(rope)) };
  const factors = rope?.llama3 && {
    [ROPE_FREQS]: llama3Divisors(rope.llama3, rope.theta, rope.dims ?? attentionIn(spec).headDim),
  };
  return { keys, ...(factors && { factors }) };
}
