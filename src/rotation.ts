import type { Importance } from "./method.js";
import { type AttentionSpec, type BlockSpec, type Site, sitesOf } from "./model.js";
import type { GivenOptions, OptionSpecs } from "./options.js";
import type { Keeper } from "./snapshot.js";
import type { Statistics } from "./statistic.js";
import type { Tensor } from "./tensor.js";

/**
 * Rotations of a decoder block that leave what it computes unchanged (DenoiseRotator, arXiv
 * 2505.23049). Q [hidden, hidden] turns the residual stream: linears that read it become W Q, those
 * that write to it Qᵀ W, and the block then reads x Q and adds to it. R2, one [headDim, headDim] for
 * each key-value head, turns the values: v's rows become R2ᵀ W, o's columns W R2, for every query
 * head of the group. RMSNorm commutes with Q once its gains are folded into the linears after it. R2 can
 * stand alone: then nothing but values and what reads them changes.
 */

/** Whose importance the rotation concentrates in few weights. */
export const ROTATION_OBJECTIVES = [
  "magnitude",
  "wanda",
  "sparsegpt",
] as const satisfies readonly Importance[];
export type RotationObjective = Importance;

/** What measures how little importance is concentrated, or what rounding costs. */
export const ROTATION_LOSSES = ["removed", "entropy", "rounding"] as const;
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

/** Kept of every 4 weights, unless a search is told otherwise. */
export const DEFAULT_PATTERN: RotationPattern = { n: 2, m: 4 };

/** The options of a search that a number or a name says. */
export const SEARCH_OPTIONS = {
  steps: {
    kind: "number",
    default: 100,
    min: 0,
    integer: true,
    description: "updates of each rotation",
  },
  // "riemannian" raises it to this over 4 steps and then lowers it along a cosine.
  learningRate: {
    kind: "number",
    above: 0,
    max: 1,
    otherwise: "1.6 / sqrt(blockSize) for removed, else 0.4 / sqrt(blockSize)",
    description: "step of Adam",
  },
  blockSize: {
    kind: "number",
    min: 1,
    integer: true,
    otherwise: "all",
    unit: "features",
    description: "features that Q mixes with one another, a divisor of the residual stream's",
  },
  objective: {
    kind: "choice",
    values: ROTATION_OBJECTIVES,
    default: "sparsegpt",
    description: "whose importance is concentrated in few weights",
  },
  loss: {
    kind: "choice",
    values: ROTATION_LOSSES,
    default: "removed",
    description:
      "what is lowered: the importance that the pattern removes, DenoiseRotator's entropy, which knows no pattern, or what rounding to a grid is expected to cost",
  },
  groupSize: {
    kind: "number",
    default: 32,
    min: 1,
    integer: true,
    word: "row",
    unit: "columns",
    description: "of rounding: inputs of a row that share a scale, or row for all of them",
  },
  power: {
    kind: "number",
    default: 8,
    min: 2,
    max: 16,
    integer: true,
    description:
      "of rounding: p of the p-norm that stands for a group's largest weight, 2, 4, 8 or 16; fewer bits want less",
  },
  damping: {
    kind: "number",
    default: 0.01,
    min: 0,
    max: 100,
    description: "added to a Hessian's diagonal before it is inverted, as a share of its mean",
  },
  // The published code adds `damping` here once more, by mistake, which turns the score almost into
  // magnitude. Yet the models pruned with it are better (stories260k: perplexity 15.2 against 19.7
  // at 2:4 by SparseGPT, tinystories-656k: 52.0 against 60.1), so it is kept; 0 is the paper's.
  scoreDamping: {
    kind: "number",
    default: 0.01,
    min: 0,
    max: 100,
    description:
      "added to the inverse Hessian's diagonal, as a share of the Hessian's mean diagonal; 0 is the paper's",
  },
  parametrisation: {
    kind: "choice",
    values: PARAMETRISATIONS,
    default: "riemannian",
    description: "how steps keep Q and R2 orthogonal; qr has a learning rate of 0.01",
  },
  seconds: {
    kind: "number",
    above: 0,
    otherwise: "no limit",
    unit: "seconds",
    description: "time after which no further step begins; results then depend on the machine",
  },
} as const satisfies OptionSpecs;

/** How attention is cut into heads. */
export type HeadShape = Pick<AttentionSpec, "heads" | "kvHeads" | "headDim">;

/** Which rotations turn what a linear reads and what it writes; undefined where none does. */
export interface Turns {
  readonly reads: "q" | "r2" | undefined;
  readonly writes: "q" | "r2" | undefined;
}

/**
 * Q turns the residual stream, R2 the heads, unless the positions turn them.
 *
 * @param headsOnly whether there is no Q. @default false
 */
export function turnsOf({ reads, writes, roped = false }: Site, headsOnly = false): Turns {
  const turnOf = (axis: Site["reads"]) => {
    if (axis === "stream") return headsOnly ? undefined : "q";
    return axis === "neurons" ? undefined : "r2";
  };
  return { reads: turnOf(reads), writes: roped ? undefined : turnOf(writes) };
}

/** Whether a rotation changes a linear, or one of those that it is made of. */
export function isTurned(site: Site, headsOnly: boolean): boolean {
  return (site.parts ?? [site]).some((part) => {
    const { reads, writes } = turnsOf(part, headsOnly);
    return (reads ?? writes) !== undefined;
  });
}

/**
 * The linears of a block whose input no earlier one shares and whose Hessians a search scores with: those
 * whose inputs turn, and for "rounding" those whose outputs alone do.
 *
 * @param loss what is lowered. @default one that reads no inputs that stay
 */
export function rotatedInputs(block: BlockSpec, headsOnly = false, loss?: RotationLoss): Site[] {
  const sites = sitesOf(block);
  const isRead = (site: Site) => loss === "rounding" || turnsOf(site).reads !== undefined;
  const scored = sites.filter((site) => isRead(site) && isTurned(site, headsOnly));
  const inputs = new Set(scored.map(({ input }) => input));
  return sites.filter(({ name }) => inputs.has(name));
}

/** A linear layer y = x Wᵀ + bias of a block. */
export interface BlockLinear {
  /** [outFeatures, inFeatures] */
  readonly weight: Tensor;
  /** [outFeatures] */
  readonly bias?: Tensor | undefined;
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
  readonly moments?: RotationMoments | undefined;
}

/**
 * Second moments M of the inputs by site, or their inverses, as an objective scores with:
 * [inFeatures, inFeatures], of heads M's diagonal blocks [heads * headDim, headDim], one a head, and of
 * inputs that nothing turns M's diagonal [inFeatures, 1].
 */
export type RotationMoments = ReadonlyMap<string, Tensor>;

/** A block that is loaded anew at each step, so that many can share one Q in little memory. */
export interface RotationSource {
  open(): Promise<RotationProblem>;
  /** Frees what `open` made. */
  close(problem: RotationProblem): void;
}

export interface RotationOptions extends GivenOptions<typeof SEARCH_OPTIONS> {
  /**
   * What "removed" looks at: it is the share of each row's importance that the pattern removes, times
   * the row's length, summed over the rows. Rows that `m` does not divide are looked at in groups of
   * 4, else of 2, that keep about the same share. Where some row is odd, and where the pattern keeps
   * all or nothing, the loss is the entropy.
   *
   * @default { n: 2, m: 4 }
   */
  readonly pattern?: RotationPattern | undefined;
  /**
   * Leaves the residual stream as it is: R2 alone is sought, and norms need not be folded.
   *
   * @default false
   */
  readonly headsOnly?: boolean | undefined;
  /** Keeps the search's state from time to time, and goes on from a state that was kept. */
  readonly keeper?: Keeper | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called after each step with the share of the work done, in [0, 1], and the loss. */
  readonly onProgress?: ((fraction: number, loss: number) => void) | undefined;
}

export interface RotationOutcome {
  /** [hidden, hidden], orthogonal to float32; undefined with `headsOnly`. The caller disposes it. */
  readonly q: Tensor | undefined;
  /** [kvHeads * headDim, headDim] for each block, head under head. The caller disposes them. */
  readonly r2: readonly Tensor[];
  /**
   * Loss after 0, 1, 2, ... updates, in nats ("entropy"), in weights of mean importance ("removed"),
   * or in linears as they were ("rounding"); more entries than updates by one.
   */
  readonly curve: readonly number[];
  /** The smallest loss, which `q` and `r2` have. */
  readonly loss: number;
  /** Updates after which it was reached. */
  readonly bestStep: number;
  /** What the search began with and what it found, part by part. */
  readonly concentrations: readonly Concentration[];
  /** Sentences that a person should read, such as an early stop. */
  readonly notes: readonly string[];
}

/** How little the importance of some weights is concentrated in few of them. */
export interface Measured {
  /** The linears that they are of, which read one input. */
  readonly linears: readonly string[];
  readonly loss: RotationLoss;
  /**
   * Of "removed" the share of importance that the pattern removes; of "entropy" the mean over the rows
   * and columns that a rotation mixes, in nats; of "rounding" the mean over the linears of their loss as a
   * share of that without a rotation.
   */
  readonly value: number;
}

/** The same before and after a rotation. */
export interface Concentration extends Omit<Measured, "value"> {
  /** Which of the blocks that share the rotation, from 0. */
  readonly block: number;
  readonly before: number;
  readonly after: number;
}
