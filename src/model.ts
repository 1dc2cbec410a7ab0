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
  /** Name of the stored linear in the checkpoint, such as "model.layers.3.self_attn.qkv_proj". */
  readonly name: string;
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
  /** Positions rotate the outputs afterwards (RoPE), so nothing else may. @default false */
  readonly roped?: boolean | undefined;
  /** Where a checkpoint holds it. @default under its own name, [outFeatures, inFeatures] */
  readonly source?: LinearSource | undefined;
}

/** A normalisation. */
export interface NormSpec {
  readonly kind: "rms";
  /** Name within the block, such as "input_layernorm". */
  readonly name: string;
  /** Elements that it has gains for. */
  readonly width: number;
  readonly epsilon: number;
}

/** Rotary grouped-query self-attention. */
export interface AttentionSpec {
  readonly kind: "attention";
  readonly heads: number;
  /** Divides `heads`. */
  readonly kvHeads: number;
  readonly headDim: number;
  readonly rope: RopeSpec;
  /** Positions that a query sees, its own included; undefined = all. */
  readonly window: number | undefined;
  /** Over each head's queries and keys, before the rotation by positions. */
  readonly norms: {
    readonly q?: NormSpec | undefined;
    readonly k?: NormSpec | undefined;
  };
  readonly sites: Readonly<Record<"q" | "k" | "v" | "o", Site>>;
}

/** SwiGLU: down(silu(gate(x)) * up(x)). */
export interface GatedMlpSpec {
  readonly kind: "gated-mlp";
  readonly norms: Readonly<Record<string, never>>;
  readonly sites: Readonly<Record<"gate" | "up" | "down", Site>>;
}

/** A layer; its `sites` stand in the order in which a forward uses them. */
export type LayerSpec = AttentionSpec | GatedMlpSpec;

/** A part of a block, which adds to the residual stream: x += layer(before(x)). */
export interface BranchSpec {
  readonly before: NormSpec;
  readonly layer: LayerSpec;
}

/** A decoder block; blocks of one model may differ in everything but the width of the stream. */
export interface BlockSpec {
  readonly branches: readonly BranchSpec[];
}

/** A decoder-only transformer. Names are those of Hugging Face's Llama. */
export interface DecoderSpec {
  readonly family: string;
  /** Features of the residual stream. */
  readonly hiddenSize: number;
  readonly vocabSize: number;
  /** Longest sequence that the model was made for. */
  readonly context: number;
  readonly blocks: readonly BlockSpec[];
  readonly finalNorm: NormSpec;
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

/** Name of a block's parameter, such as "model.layers.3.mlp.up_proj.weight". */
export function blockTensor(layer: number, name: string): string {
  return `model.layers.${layer}.${name}`;
}

export const EMBEDDING = "model.embed_tokens.weight";
export const FINAL_NORM = "model.norm.weight";
export const HEAD = "lm_head.weight";

/** The linears of a block, in the order in which a forward uses them. */
export function sitesOf({ branches }: BlockSpec): Site[] {
  return branches.flatMap(({ layer }) => Object.values<Site>(layer.sites));
}

/** The norms of a block: those before its layers, then those within them. */
export function normsOf({ branches }: BlockSpec): NormSpec[] {
  const inner = branches.flatMap(({ layer }) => Object.values<NormSpec>(layer.norms));
  return [...branches.map(({ before }) => before), ...inner];
}

/** Features of the residual stream that a block reads and adds to. */
export function streamWidth({ branches: [{ before }] }: BlockSpec): number {
  return before.width;
}

/** The attention of a block; every block of the families read here has one. */
export function attentionOf({ branches }: BlockSpec): AttentionSpec {
  const layers = branches.map(({ layer }) => layer);
  return layers.find((layer) => layer.kind === "attention")!;
}

/** Every linear of a model by its name, such as "model.layers.3.mlp.up_proj". */
export function modelSites({ blocks }: DecoderSpec): Map<string, Site> {
  return new Map(
    blocks.flatMap((block, layer) =>
      sitesOf(block).map((site) => [blockTensor(layer, site.name), site] as const),
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
  tensors.set(EMBEDDING, [spec.vocabSize, spec.hiddenSize]);
  for (const [layer, block] of spec.blocks.entries()) {
    for (const { name, width } of normsOf(block)) {
      tensors.set(blockTensor(layer, `${name}.weight`), [width]);
    }
    for (const { name, shape, bias } of sitesOf(block)) {
      tensors.set(blockTensor(layer, `${name}.weight`), shape);
      if (bias) tensors.set(blockTensor(layer, `${name}.bias`), [shape[0]]);
    }
  }
  tensors.set(FINAL_NORM, [spec.hiddenSize]);
  if (!spec.tiedHead) tensors.set(HEAD, [spec.vocabSize, spec.hiddenSize]);
  return tensors;
}
