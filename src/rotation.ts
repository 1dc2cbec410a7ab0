import type { Statistics } from "./method.js";
import { type AttentionSpec, type BlockSpec, type Site, sitesOf } from "./model.js";
import type { Keeper } from "./snapshot.js";
import type { Tensor } from "./tensor.js";

/**
 * Rotations of a decoder block that leave what it computes unchanged (DenoiseRotator, arXiv
 * 2505.23049). Q [hidden, hidden] turns the residual stream: linears that read it become W Q, those
 * that write to it Qᵀ W, and the block then reads x Q and adds to it. R2, one [headDim, headDim] for
 * each key-value head, turns the values: v's rows become R2ᵀ W, o's columns W R2, for every query
 * head of the group. RMSNorm commutes with Q once its gains are folded into the linears after it.
 */

/** Whose importance the rotation concentrates in few weights. */
export const ROTATION_OBJECTIVES = ["magnitude", "wanda", "sparsegpt"] as const;
export type RotationObjective = (typeof ROTATION_OBJECTIVES)[number];

/** What measures how little importance is concentrated. */
export const ROTATION_LOSSES = ["removed", "entropy"] as const;
export type RotationLoss = (typeof ROTATION_LOSSES)[number];

/** `n` weights are kept of every `m` consecutive inputs of a row. */
export interface RotationPattern {
  /** From 0 to `m`. */
  readonly n: number;
  /** From 1 to 16. */
  readonly m: number;
}

/** How steps keep Q and R2 orthogonal. */
export const PARAMETRISATIONS = ["riemannian", "qr"] as const;
export type Parametrisation = (typeof PARAMETRISATIONS)[number];

/** What `RotationOptions` default to, where the default does not depend on other options. */
export const ROTATION_DEFAULTS = {
  objective: "sparsegpt",
  loss: "removed",
  pattern: { n: 2, m: 4 },
  steps: 100,
  parametrisation: "riemannian",
  damping: 0.01,
  scoreDamping: 0.01,
} as const;

/** How attention is cut into heads. */
export type HeadShape = Pick<AttentionSpec, "heads" | "kvHeads" | "headDim">;

/** Which rotations turn what a linear reads and what it writes; undefined where none does. */
export interface Turns {
  readonly reads: "q" | "r2" | undefined;
  readonly writes: "q" | "r2" | undefined;
}

/** Q turns the residual stream, R2 the heads, unless the positions turn them. */
export function turnsOf({ reads, writes, roped = false }: Site): Turns {
  const turnOf = (axis: Site["reads"]) =>
    axis === "stream" ? "q" : axis === "neurons" ? undefined : "r2";
  return { reads: turnOf(reads), writes: roped ? undefined : turnOf(writes) };
}

/** The linears of a block whose input no earlier one shares and that a rotation turns. */
export function rotatedInputs(block: BlockSpec): Site[] {
  return sitesOf(block).filter((site) => site.input === site.name && turnsOf(site).reads);
}

/** A linear layer y = x Wᵀ + bias of a block. */
export interface BlockLinear {
  /** [outFeatures, inFeatures] */
  readonly weight: Tensor;
  /** [outFeatures] */
  readonly bias?: Tensor;
}

/** A decoder block whose rotation is sought. Its tensors are read and never changed. */
export interface RotationProblem {
  /** Name for messages, such as "model.layers.0". */
  readonly name: string;
  readonly block: BlockSpec;
  /** [outFeatures, inFeatures] by site, the gains of the RMSNorm before them folded in. */
  readonly weights: Readonly<Record<string, Tensor>>;
  /**
   * Of the `rotatedInputs` by site, after norms without gains. Only the Hessians are read, and none
   * for "magnitude".
   */
  readonly statistics: Readonly<Record<string, Statistics>>;
  /** What `rotationMoments` made of the statistics, which are then not read. */
  readonly moments?: RotationMoments;
}

/**
 * Second moments M of the inputs by site, or their inverses, as an objective scores with:
 * [inFeatures, inFeatures], and of heads M's diagonal blocks [heads * headDim, headDim], one a head.
 */
export type RotationMoments = ReadonlyMap<string, Tensor>;

/** A block that is loaded anew at each step, so that many can share one Q in little memory. */
export interface RotationSource {
  open(): Promise<RotationProblem>;
  /** Frees what `open` made. */
  close(problem: RotationProblem): void;
}

export interface RotationOptions {
  /** @default "sparsegpt" */
  readonly objective?: RotationObjective;
  /**
   * "removed": the share of each row's importance that `pattern` removes, times the row's length,
   * summed over the rows. "entropy": DenoiseRotator's sum of entropies, which knows no pattern.
   *
   * @default "removed"
   */
  readonly loss?: RotationLoss;
  /**
   * What "removed" looks at. Rows that `m` does not divide are looked at in groups of 4, else of 2,
   * that keep about the same share. Where some row is odd, and where the pattern keeps all or
   * nothing, the loss is the entropy.
   *
   * @default { n: 2, m: 4 }
   */
  readonly pattern?: RotationPattern;
  /** Updates of the rotation. @default 100 */
  readonly steps?: number;
  /**
   * Of Adam; "riemannian" raises it to this over 4 steps and then lowers it along a cosine.
   * @default for "riemannian" 1.6 / sqrt(blockSize) with the loss "removed" and 0.4 / sqrt(blockSize)
   *   with "entropy", 0.01 for "qr"
   */
  readonly learningRate?: number;
  /** @default "riemannian" */
  readonly parametrisation?: Parametrisation;
  /** Q mixes only the columns of stretches of this length, which divides hidden. @default hidden */
  readonly blockSize?: number;
  /** Added to a Hessian's diagonal before it is inverted, as a share of its mean. @default 0.01 */
  readonly damping?: number;
  /**
   * Added to the inverse Hessian's diagonal, as a share of the Hessian's mean diagonal. The
   * published code adds `damping` here once more, by mistake, which turns the score almost into
   * magnitude. Yet the models pruned with it are better (stories260k: perplexity 15.2 against 19.7
   * at 2:4 by SparseGPT, tinystories-656k: 52.0 against 60.1), so it is kept; 0 is the paper's.
   * @default 0.01
   */
  readonly scoreDamping?: number;
  /** Seconds after which no further step begins; results then depend on the machine. @default none */
  readonly seconds?: number;
  /** Keeps the search's state from time to time, and goes on from a state that was kept. */
  readonly keeper?: Keeper;
  readonly signal?: AbortSignal;
  /** Called after each step with the share of the work done, in [0, 1], and the loss. */
  readonly onProgress?: (fraction: number, loss: number) => void;
}

export interface RotationOutcome {
  /** [hidden, hidden], orthogonal to float32. The caller disposes it. */
  readonly q: Tensor;
  /** [kvHeads * headDim, headDim] for each block, head under head. The caller disposes them. */
  readonly r2: readonly Tensor[];
  /**
   * Loss after 0, 1, 2, ... updates, in nats ("entropy") or in weights of mean importance
   * ("removed"); more entries than updates by one.
   */
  readonly curve: readonly number[];
  /** The smallest loss, which `q` and `r2` have. */
  readonly loss: number;
  /** Updates after which it was reached. */
  readonly bestStep: number;
  /** Sentences that a person should read, such as an early stop. */
  readonly notes: readonly string[];
}

/** How to rotate, as a recipe says it. */
export interface RotateRecipe {
  /**
   * Which blocks share one Q. "block": every block has its own, and a turn of the residual stream
   * stands before each block and after the last. "groups:N": N runs of neighbouring blocks, and
   * turns between them. "shared": all blocks, and Q is folded into the embedding and the head, so
   * that the output is a plain checkpoint.
   *
   * @default "block"
   */
  readonly scope?: string;
  /** Updates of the rotation. @default 100 */
  readonly steps?: number;
  /** Step of Adam. @default as in `RotationOptions` */
  readonly learningRate?: number;
  /** Whose importance is concentrated. @default that which suits the pruning method and `loss` */
  readonly objective?: RotationObjective;
  /**
   * As in `RotationOptions`, where the pattern is the recipe's: N:M as it is, and for an unstructured
   * share s the nearest of 1:8, 2:8, ... 7:8. The entropy where nothing is removed.
   *
   * @default "removed"
   */
  readonly loss?: RotationLoss;
  /** As in `RotationOptions`. @default 0.01 */
  readonly scoreDamping?: number;
  /** Q mixes only stretches of so many features. @default all */
  readonly blockSize?: number;
}

export const ROTATE_KEYS: readonly (keyof RotateRecipe)[] = [
  "scope",
  "steps",
  "learningRate",
  "objective",
  "loss",
  "scoreDamping",
  "blockSize",
];
