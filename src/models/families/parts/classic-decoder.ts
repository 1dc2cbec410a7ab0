import type { ConfigReader } from "../../../config-reader.js";
import type {
  AttentionSpec,
  BlockSpec,
  DecoderSpec,
  NormSpec,
  TensorNames,
} from "../../../model.js";
import { type AttentionOptions, attention } from "../../layers/attention.js";
import { type MlpOptions, mlp } from "../../layers/mlp.js";

/** What sets one decoder with LayerNorms before its layers and a plain feed-forward apart. */
export interface ClassicOptions
  extends Pick<AttentionSpec, "heads" | "rope">,
    Pick<AttentionOptions, "fused" | "transposed">,
    Pick<MlpOptions, "activation">,
    Pick<DecoderSpec, "positions" | "buffers" | "needsBos"> {
  readonly family: string;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly context: number;
  readonly layers: number;
  /** Of all of its norms. */
  readonly epsilon: number;
  readonly biases: { readonly qkv: boolean; readonly o: boolean; readonly mlp: boolean };
  /** Both layers read the block's input. @default false */
  readonly parallel?: boolean | undefined;
  readonly names: TensorNames;
  /** Whether the head is the embedding where config.json does not say it. */
  readonly tied: boolean;
  /** Names within a block. */
  readonly parts: {
    readonly norms: Readonly<Record<"attention" | "mlp", string>>;
    /** Before the names of the attention's linears. */
    readonly attention: string;
    readonly linears: NonNullable<AttentionOptions["names"]>;
    readonly mlp: MlpOptions["names"];
  };
}

/**
 * A decoder as they were before Llama, GPT-2 and what came of it, with what all of them name alike.
 *
 * @throws PenjingError for a missing or wrong field
 */
export function classicDecoder(config: ConfigReader, options: ClassicOptions): DecoderSpec {
  const { family, hiddenSize, context, heads, epsilon, layers, parts } = options;
  const { parallel, names, positions, buffers, tied, needsBos } = options;
  const norm = (name: string): NormSpec => ({ kind: "layer", name, width: hiddenSize, epsilon });
  const sizes = { kvHeads: heads, headDim: hiddenSize / heads, window: undefined };
  const block: BlockSpec = {
    branches: [
      {
        before: norm(parts.norms.attention),
        layer: attention(parts.attention, { ...options, ...sizes, names: parts.linears }),
      },
      { before: norm(parts.norms.mlp), layer: mlp({ ...options, names: parts.mlp }) },
    ],
    ...(parallel && { parallel }),
  };
  return {
    ...{ family, hiddenSize, context, names, positions, buffers, needsBos },
    vocabSize: config.count("vocab_size"),
    blocks: Array.from({ length: layers }, () => block),
    finalNorm: norm(names.finalNorm),
    tiedHead: config.flag("tie_word_embeddings", tied),
    bosIds: config.ids("bos_token_id"),
    eosIds: config.ids("eos_token_id"),
  };
}
