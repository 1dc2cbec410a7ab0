import type { ConfigReader } from "./config-reader.js";

/** Rotary position embedding; at most one of the ways to stretch its wavelengths. */
export interface RopeSpec {
  /** Base of the geometric series of wavelengths. */
  readonly theta: number;
  /** Llama-3's stretching of long wavelengths; wavelengths are in positions. */
  readonly llama3?:
    | {
        readonly factor: number;
        readonly lowFreqFactor: number;
        readonly highFreqFactor: number;
        readonly originalContext: number;
      }
    | undefined;
  /** All wavelengths are stretched by one factor. */
  readonly linear?: { readonly factor: number } | undefined;
  readonly yarn?: YarnRope | undefined;
  readonly longrope?: LongRope | undefined;
  /** Elements of each head that are rotated, from its first on; even. @default all */
  readonly dims?: number | undefined;
}

/** LongRoPE (Ding et al., arXiv 2402.13753) within the context that the model was first made for. */
export interface LongRope {
  /** Each pair's wavelength is stretched by a factor of its own: dims / 2 of them. */
  readonly factors: readonly number[];
  /** Cosines and sines are multiplied by this. */
  readonly attentionFactor: number;
}

/** YaRN (Peng et al., arXiv 2309.00071): long wavelengths are stretched, short ones are not. */
export interface YarnRope {
  readonly factor: number;
  /** Positions that the model knew before it was stretched. */
  readonly originalContext: number;
  /** Wavelengths that fit this often into the original context, or more often, stay. */
  readonly betaFast: number;
  /** Those that fit this often or less are stretched in full. */
  readonly betaSlow: number;
  /** Round the pairs of elements where the blend begins and ends outwards. */
  readonly truncate: boolean;
  /** Cosines and sines are multiplied by this. */
  readonly attentionFactor: number;
}

/**
 * What the inputs or outputs of a linear count: features of the residual stream, elements of query
 * heads or of key-value heads, or neurons of a feed-forward.
 */
export type Axis = "stream" | "heads" | "kv-heads" | "neurons";

/** Where a linear lies in a checkpoint that holds it under another name or in another shape. */
export interface LinearSource {
  /** Name of the stored linear in the checkpoint, such as "model.layers.3.attn". @default its own */
  readonly name?: string | undefined;
  /** It is the outputs from `first` on of a stored linear that has `of` outputs. @default all */
  readonly outputs?: { readonly first: number; readonly of: number } | undefined;
  /** The weight is stored as [inFeatures, outFeatures]. @default false */
  readonly transposed?: boolean | undefined;
}

/** A linear of a block, as its family describes it: y = x Wᵀ + bias. */
export interface Site {
  /** Name within the block, such as "mlp.up_proj". */
  readonly name: string;
  readonly shape: readonly [outFeatures: number, inFeatures: number];
  /** The first site that reads the same tensor: statistics of its inputs serve all that share them. */
  readonly input: string;
  /** What the inputs are. */
  readonly reads: Axis;
  /** What the outputs are. */
  readonly writes: Axis;
  readonly bias: boolean;
  /** The outputs are queries or keys: positions alone may rotate them (RoPE). @default false */
  readonly roped?: boolean | undefined;
  /** The linears that it is, where it is several in one, by their outputs in order. @default itself */
  readonly parts?: readonly Site[] | undefined;
  /** Where a checkpoint holds it. @default under its own name, [outFeatures, inFeatures] */
  readonly source?: LinearSource | undefined;
}

/** A normalisation: "rms" is x / rms(x) * gain, "layer" (x - mean) / deviation * gain + bias. */
export interface NormSpec {
  readonly kind: "rms" | "layer";
  /** Name within the block, such as "input_layernorm". */
  readonly name: string;
  /** Elements that it has gains for. */
  readonly width: number;
  readonly epsilon: number;
  /** Checkpoints store the gains less 1. @default false */
  readonly plusOne?: boolean | undefined;
}

/** Grouped-query self-attention. */
export interface AttentionSpec {
  readonly kind: "attention";
  readonly heads: number;
  /** Divides `heads`. */
  readonly kvHeads: number;
  readonly headDim: number;
  /** How positions rotate queries and keys; undefined = not at all. */
  readonly rope: RopeSpec | undefined;
  /** Positions that a query sees, its own included; undefined = all. */
  readonly window: number | undefined;
  /** Factor on the products of queries and keys. @default 1 / sqrt(headDim) */
  readonly scale?: number | undefined;
  /** Over stretches of the norm's width, a head or all heads, before the rotation by positions. */
  readonly norms: {
    readonly q?: NormSpec | undefined;
    readonly k?: NormSpec | undefined;
  };
  readonly sites: Readonly<Record<"q" | "k" | "v" | "o", Site>> | FusedAttentionSites;
}

/** One linear for queries, keys and values. */
export type FusedAttentionSites = Readonly<
  Record<
    /**
     * Its outputs are all queries, then all keys, then all values (it has `parts` then); or query, key
     * and value of one head after the other.
     */
    "qkv" | "o",
    Site
  >
>;

/** down(activation(gate(x)) * up(x)), SwiGLU with silu. */
export interface GatedMlpSpec {
  readonly kind: "gated-mlp";
  /** @default "silu" */
  readonly activation?: "silu" | "gelu-tanh" | undefined;
  readonly norms: Readonly<Record<string, never>>;
  readonly sites:
    | Readonly<Record<"gate" | "up" | "down", Site>>
    /** Gate and up as one linear, the gate's outputs first. */
    | Readonly<Record<"gateUp" | "down", Site>>;
}

/** down(activation(up(x))). */
export interface MlpSpec {
  readonly kind: "mlp";
  readonly activation: "gelu" | "gelu-tanh" | "relu";
  readonly norms: Readonly<Record<string, never>>;
  readonly sites: Readonly<Record<"up" | "down", Site>>;
}

/** A layer; its `sites` stand in the order in which a forward uses them. */
export type LayerSpec = AttentionSpec | GatedMlpSpec | MlpSpec;

/** A part of a block, which adds to the residual stream: x += scale * after(layer(before(x))). */
export interface BranchSpec {
  /** @default none: the layer reads x itself */
  readonly before?: NormSpec | undefined;
  readonly layer: LayerSpec;
  /** @default none */
  readonly after?: NormSpec | undefined;
  /** @default 1 */
  readonly scale?: number | undefined;
}

/** A decoder block; blocks of one model may differ in everything but the width of the stream. */
export interface BlockSpec {
  readonly branches: readonly BranchSpec[];
  /** Every branch reads the block's input, and not what the one before it made. @default false */
  readonly parallel?: boolean | undefined;
}

/** What a family calls its parts, without ".weight"; all but the head's stand behind `base`. */
export interface TensorNames {
  /** Before every name but the head's, such as "model."; checkpoints may have another one. */
  readonly base: string;
  /** Before the index of a block. */
  readonly blocks: string;
  readonly embedding: string;
  readonly finalNorm: string;
  readonly head: string;
  /** Embedding of positions, where they are learned. */
  readonly positions?: string | undefined;
}

/** The names of Hugging Face's Llama, which most families share. */
export const LLAMA_NAMES: TensorNames = {
  base: "model.",
  blocks: "layers",
  embedding: "embed_tokens",
  finalNorm: "norm",
  head: "lm_head",
};

/** A decoder-only transformer. */
export interface DecoderSpec {
  readonly family: string;
  /** Features of the residual stream. */
  readonly hiddenSize: number;
  readonly vocabSize: number;
  /** Longest sequence that the model was made for. */
  readonly context: number;
  readonly blocks: readonly BlockSpec[];
  readonly finalNorm: NormSpec;
  /** @default those of Llama */
  readonly names?: TensorNames | undefined;
  /** Embeddings are multiplied by this. @default 1 */
  readonly embeddingScale?: number | undefined;
  /** Logits are multiplied by this. @default 1 */
  readonly logitScale?: number | undefined;
  /** A learned embedding of positions is added; it has this many rows before that of the first. */
  readonly positions?: { readonly offset: number } | undefined;
  /** Names within a block of what checkpoints may hold beside parameters: masks, say. @default none */
  readonly buffers?: readonly string[] | undefined;
  /** The output head reuses the embedding. */
  readonly tiedHead: boolean;
  readonly bosIds: readonly number[];
  /** Its results are wrong for texts that do not begin with a BOS token. @default false */
  readonly needsBos?: boolean | undefined;
  readonly eosIds: readonly number[];
}

/** A model family: turns its config.json into a decoder, or refuses what it cannot run. */
export interface ModelFamily {
  /** `model_type` in config.json. */
  readonly modelType: string;
  readonly summary: string;
  read(config: ConfigReader): DecoderSpec;
}

/** What names of tensors are made of. */
type Named = Pick<DecoderSpec, "names">;

/** Name of a block, such as "model.layers.3". */
export function blockName({ names = LLAMA_NAMES }: Named, layer: number): string {
  return `${names.base}${names.blocks}.${layer}`;
}

/** Name of a block's parameter, such as "model.layers.3.mlp.up_proj.weight". */
export function blockTensor(spec: Named, layer: number, name: string): string {
  return `${blockName(spec, layer)}.${name}`;
}

/** Names of the tensors that stand outside the blocks. */
export function outerTensors({ names = LLAMA_NAMES }: Named) {
  const { base, embedding, finalNorm, head, positions } = names;
  return {
    embedding: `${base}${embedding}.weight`,
    finalNorm: `${base}${finalNorm}.weight`,
    finalNormBias: `${base}${finalNorm}.bias`,
    head: `${head}.weight`,
    positions: `${base}${positions}.weight`,
  };
}

/**
 * The factors with which linears add their outputs to the residual stream, by name. Left out are those
 * whose outputs a norm changes first, and in a parallel block all but the last.
 */
export function residualFactors({ branches, parallel }: BlockSpec): Map<string, number> {
  const factors = new Map<string, number>();
  for (const { layer, after, scale = 1 } of parallel ? branches.slice(-1) : branches) {
    for (const { name, writes } of Object.values<Site>(layer.sites)) {
      if (writes === "stream" && !after) factors.set(name, scale);
    }
  }
  return factors;
}

/** The linears of a block, in the order in which a forward uses them. */
export function sitesOf({ branches }: BlockSpec): Site[] {
  return branches.flatMap(({ layer }) => Object.values<Site>(layer.sites));
}

/** The same, those that are several in one taken apart. */
export function sitesApart(block: BlockSpec): Site[] {
  return sitesOf(block).flatMap((site) => site.parts ?? site);
}

/** The norms of a block: those around its layers, then those within them. */
export function normsOf({ branches }: BlockSpec): NormSpec[] {
  const around = branches.flatMap(({ before, after }) => [before, after]);
  const inner = branches.flatMap(({ layer }) => Object.values<NormSpec>(layer.norms));
  return [...around.filter((norm) => norm !== undefined), ...inner];
}

/** Features of the residual stream that a block reads and adds to. */
export function streamWidth(block: BlockSpec): number {
  return sitesOf(block).find(({ reads }) => reads === "stream")!.shape[1];
}

/** The attention of a block; every block of the families read here has one. */
export function attentionOf({ branches }: BlockSpec): AttentionSpec {
  const layers = branches.map(({ layer }) => layer);
  return layers.find((layer) => layer.kind === "attention")!;
}

/** Every linear of a model by its name, such as "model.layers.3.mlp.up_proj". */
export function modelSites(spec: DecoderSpec): Map<string, Site> {
  return new Map(
    spec.blocks.flatMap((block, layer) =>
      sitesOf(block).map((site) => [blockTensor(spec, layer, site.name), site] as const),
    ),
  );
}

/** Elements of the largest weight that a model's linears have. */
export function largestWeight(spec: DecoderSpec): number {
  let most = 0;
  for (const { shape } of modelSites(spec).values()) most = Math.max(most, shape[0] * shape[1]);
  return most;
}

/**
 * Name and shape of every tensor of the decoder. The head is left out when it is tied; see
 * `models/stored.ts` for checkpoints that store a tied pair under the head's name.
 */
export function decoderTensors(spec: DecoderSpec): Map<string, readonly number[]> {
  const tensors = new Map<string, readonly number[]>();
  const { vocabSize, hiddenSize, finalNorm, positions, context } = spec;
  const outer = outerTensors(spec);
  tensors.set(outer.embedding, [vocabSize, hiddenSize]);
  if (positions) tensors.set(outer.positions, [context + positions.offset, hiddenSize]);
  for (const [layer, block] of spec.blocks.entries()) {
    for (const { name, width, kind } of normsOf(block)) {
      tensors.set(blockTensor(spec, layer, `${name}.weight`), [width]);
      if (kind === "layer") tensors.set(blockTensor(spec, layer, `${name}.bias`), [width]);
    }
    for (const { name, shape, bias } of sitesOf(block)) {
      tensors.set(blockTensor(spec, layer, `${name}.weight`), shape);
      if (bias) tensors.set(blockTensor(spec, layer, `${name}.bias`), [shape[0]]);
    }
  }
  tensors.set(outer.finalNorm, [hiddenSize]);
  if (finalNorm.kind === "layer") tensors.set(outer.finalNormBias, [hiddenSize]);
  if (!spec.tiedHead) tensors.set(outer.head, [vocabSize, hiddenSize]);
  return tensors;
}
