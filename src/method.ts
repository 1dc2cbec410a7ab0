import type { Backend, HalfFormat } from "./backend.js";
import type { Form, MatrixShape } from "./form.js";
import type { OptionSpecs, OptionsOf } from "./options.js";
import type { Keeper } from "./snapshot.js";
import type { Sparsity } from "./sparsity.js";
import type { Statistics } from "./statistic.js";
import type { Tensor } from "./tensor.js";

/** One linear layer to prune or to quantize. Methods know nothing of files, models or progress bars. */
export interface LinearProblem {
  /** Name for messages, such as "model.layers.0.mlp.up_proj". */
  readonly name: string;
  /** [outFeatures, inFeatures] f32; the method replaces its elements by the pruned ones. */
  readonly weight: Tensor;
  /**
   * [outFeatures, inFeatures] f32, what the result is to come near, for quantizers of what an earlier step
   * has pruned; read only.
   *
   * @default the weight as it is given
   */
  readonly target?: Tensor | undefined;
  readonly statistics: Statistics;
  readonly sparsity: Sparsity;
  readonly backend: Backend;
  /**
   * u8 [outFeatures, inFeatures], 1 = kept: what an earlier step removed stays 0. For quantizers.
   *
   * @default all are kept
   */
  readonly mask?: Tensor | undefined;
  /** What the scales of a grid are stored as, for quantizers. @default "f16" */
  readonly scaleType?: HalfFormat | undefined;
  /** Where a method that draws random numbers starts. @default 0 */
  readonly seed?: number | undefined;
  /** Seconds after which a long optimisation stops; results then depend on the machine. */
  readonly seconds?: number | undefined;
  /** Keeps a long optimisation's state from time to time, and gives back what was kept. */
  readonly keeper?: Keeper | undefined;
  /** Cancels a long optimisation within 100 ms: `prune` rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** How far a long optimisation is, in [0, 1]. */
  readonly onProgress?: ((fraction: number) => void) | undefined;
}

export interface PruneOutcome {
  /** u8 [outFeatures, inFeatures], 1 = kept. The caller disposes it. */
  readonly mask: Tensor;
  /**
   * How the layer's weight is held, where `problem.weight` is only a part of it, such as a product
   * around it. The caller disposes its tensors.
   */
  readonly form?: Form | undefined;
  /** Iteration and proxy loss of an optimisation, at most 100 points from its start to its end. */
  readonly curve?: readonly (readonly [iteration: number, proxy: number])[] | undefined;
  /** Figures for the report, such as the predicted loss. */
  readonly figures: Readonly<Record<string, number>>;
  /** Sentences that a person should read, such as a raised damping. */
  readonly notes: readonly string[];
}

/** Points of a curve in a report, at most. */
const CURVE_POINTS = 100;

/** Points of an optimisation's losses, evenly spaced, the first and the last among them. */
export function thinCurve(losses: readonly number[]): [iteration: number, loss: number][] {
  const points = Math.min(CURVE_POINTS, losses.length);
  return Array.from({ length: points }, (_, i) => {
    const at = Math.round((i * (losses.length - 1)) / Math.max(1, points - 1));
    return [at, losses[at]];
  });
}

/** What a weight's importance is measured by. */
export type Importance = "magnitude" | "wanda" | "sparsegpt";

/**
 * A method of pruning or of quantizing: a pure function of one linear layer's problem. A quantizer gives
 * a form, a dense leaf on a grid; its mask is the problem's, or keeps all, or is what it removes by.
 *
 * @typeParam Specs the descriptions of its options by name
 */
export interface Method<Specs extends OptionSpecs = OptionSpecs> {
  readonly name: string;
  /** One line for `--help` and the docs. */
  readonly summary: string;
  /** Paper that it follows. */
  readonly source: string;
  /** Names of the statistics that it reads with these options; calibration gathers no others. */
  needs(options: OptionsOf<Specs>): readonly string[];
  readonly options: Specs;
  /**
   * The importance that a rotation before it concentrates best, by the rotation's loss
   * (docs/methods.md). @default "magnitude"
   */
  readonly rotation?:
    | {
        readonly removed?: Importance | undefined;
        readonly entropy?: Importance | undefined;
        readonly rounding?: Importance | undefined;
      }
    | undefined;
  /** Whether it is a long optimisation that stops after `LinearProblem.seconds`. @default false */
  readonly isTimed?: boolean | undefined;
  /**
   * Of quantizers: whether it removes weights itself, as `LinearProblem.sparsity` says, where no earlier step
   * has. @default it rounds what is there
   */
  readonly removes?: boolean | undefined;
  /** Why it cannot prune to this sparsity; the sentence completes "<method> ". @default it can */
  refusal?(sparsity: Sparsity): string | undefined;
  /**
   * For methods whose outcome has a form: that form of a weight of this shape, without its parts. What
   * comes out is held against it.
   */
  form?(shape: MatrixShape, options: OptionsOf<Specs>): Form<undefined>;
  /** Prunes or quantizes `problem.weight` in place. */
  prune(problem: LinearProblem, options: OptionsOf<Specs>): Promise<PruneOutcome>;
}

/** A method whose option names are not known to the type checker; `resolveOptions` checks them. */
// biome-ignore lint/suspicious/noExplicitAny: registries hold methods of different options
export type AnyMethod = Method<any>;
