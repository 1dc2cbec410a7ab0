import type { AttentionSpec, BlockSpec, NormSpec } from "../../../model.js";
import { attention } from "../../layers/attention.js";
import { gatedMlp } from "../../layers/gated-mlp.js";

/** What sets one block of the Llama kind apart from others. */
export interface LlamaBlockOptions
  extends Pick<AttentionSpec, "heads" | "kvHeads" | "headDim" | "rope" | "window"> {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  /** Of all of its norms. */
  readonly epsilon: number;
  readonly biases: { readonly qkv: boolean; readonly o: boolean; readonly mlp: boolean };
  /** RMSNorm over each head's queries and keys. */
  readonly qkNorm: boolean;
}

/** A block with RMSNorms before rotary grouped-query attention and before SwiGLU. */
export function llamaBlock(options: LlamaBlockOptions): BlockSpec {
  const { hiddenSize, epsilon } = options;
  const before = (name: string): NormSpec => ({ kind: "rms", name, width: hiddenSize, epsilon });
  return {
    branches: [
      { before: before("input_layernorm"), layer: attention("self_attn", options) },
      { before: before("post_attention_layernorm"), layer: gatedMlp("mlp", options) },
    ],
  };
}
