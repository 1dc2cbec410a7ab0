import type { AttentionSpec, BlockSpec, DecoderSpec, NormSpec } from "../../../model.js";
import { type AttentionOptions, attention } from "../../layers/attention.js";
import { type MlpOptions, mlp } from "../../layers/mlp.js";

/** What sets one decoder with LayerNorms before its layers and a plain feed-forward apart. */
export interface ClassicOptions
  extends Pick<AttentionSpec, "heads" | "rope">,
    Pick<AttentionOptions, "fused" | "transposed">,
    Pick<MlpOptions, "activation">,
    Pick<DecoderSpec, "names" | "positions" | "buffers" | "tiedHead" | "needsBos"> {
  readonly family: string;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly vocabSize: number;
  readonly context: number;
  readonly layers: number;
  /** Of all of its norms. */
  readonly epsilon: number;
  readonly biases: { readonly qkv: boolean; readonly o: boolean; readonly mlp: boolean };
  /** Both layers read the block's input. @default false */
  readonly parallel?: boolean | undefined;
  /** Names within a block. */
  readonly parts: {
    readonly norms: Readonly<Record<"attention" | "mlp", string>>;
    /** Before the names of the attention's linears. */
    readonly attention: string;
    readonly linears: NonNullable<AttentionOptions["names"]>;
    readonly mlp: MlpOptions["names"];
  };
}

/** A decoder as they were before Llama: GPT-2 and what came of it. */
export function classicDecoder(options: ClassicOptions): Omit<DecoderSpec, "bosIds" | "eosIds"> {
  const { family, hiddenSize, vocabSize, context, heads, epsilon, layers, parts } = options;
  const { parallel, names, positions, buffers, tiedHead, needsBos } = options;
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
    ...{ family, hiddenSize, vocabSize, context, names, positions, buffers, tiedHead, needsBos },
    blocks: Array.from({ length: layers }, () => block),
    finalNorm: norm(names!.finalNorm),
  };
}
