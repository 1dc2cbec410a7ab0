import type { AttentionSpec, BlockSpec, BranchSpec, NormSpec } from "../../../model.js";
import { type AttentionOptions, attention } from "../../layers/attention.js";
import { type GatedMlpOptions, gatedMlp } from "../../layers/gated-mlp.js";

/** What sets one block of the Llama kind apart from others. */
export interface LlamaBlockOptions
  extends Pick<AttentionSpec, "heads" | "kvHeads" | "headDim" | "rope" | "window" | "scale">,
    Pick<AttentionOptions, "plusOne" | "fused">,
    Pick<GatedMlpOptions, "activation" | "fusedMlp"> {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  /** Of all of its norms. */
  readonly epsilon: number;
  readonly biases: { readonly qkv: boolean; readonly o: boolean; readonly mlp: boolean };
  /** RMSNorm over each head's queries and keys, or over all heads' at once ("width"). */
  readonly qkNorm: boolean | "width";
  /** Names of the norms around its two layers. @default Llama's, before them */
  readonly norms?: Readonly<Record<"attention" | "mlp", NormNames>> | undefined;
  /** What stands before the names of the feed-forward's linears, and these. @default Llama's, "mlp" */
  readonly mlp?: { readonly prefix: string; readonly names: GatedMlpOptions["names"] } | undefined;
  /** What the layers give is multiplied by this. @default 1 */
  readonly residualScale?: number | undefined;
}

/** Names of the norms before and behind a layer, where there are such. */
export interface NormNames {
  readonly before?: string | undefined;
  readonly after?: string | undefined;
}

const NORMS = {
  attention: { before: "input_layernorm" },
  mlp: { before: "post_attention_layernorm" },
};

/** A block with RMSNorms around rotary grouped-query attention and around a gated feed-forward. */
export function llamaBlock(options: LlamaBlockOptions): BlockSpec {
  const { hiddenSize: width, epsilon, plusOne, norms = NORMS, residualScale } = options;
  const { mlp = { prefix: "mlp", names: undefined } } = options;
  const norm = (name: string): NormSpec => ({
    ...{ kind: "rms", name, width, epsilon },
    ...(plusOne && { plusOne }),
  });
  const branch = ({ before, after }: NormNames, layer: BranchSpec["layer"]): BranchSpec => ({
    ...(before !== undefined && { before: norm(before) }),
    layer,
    ...(after !== undefined && { after: norm(after) }),
    ...(residualScale !== undefined && { scale: residualScale }),
  });
  return {
    branches: [
      branch(norms.attention, attention("self_attn", options)),
      branch(norms.mlp, gatedMlp(mlp.prefix, { ...options, names: mlp.names })),
    ],
  };
}
