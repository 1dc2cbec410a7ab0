import type { Backend } from "./backend.js";
import { nearest, PenjingError, refuseUnknownKeys } from "./errors.js";
import type { Form, MatrixShape } from "./form.js";
import type { Keeper } from "./snapshot.js";
import type { Sparsity } from "./sparsity.js";
import type { Tensor } from "./tensor.js";

/** What calibration can gather about a linear layer's inputs X [tokens, inFeatures]. */
export type StatisticName = "columnSquares" | "hessian";

/** What calibration did gather. Which fields are there follows from `Method.needs`. */
export interface Statistics {
  /** Sequences that X was cut into. */
  readonly sequences: number;
  /** Rows of X. */
  readonly tokens: number;
  /** [inFeatures], the sum over tokens of x². */
  readonly columnSquares?: Tensor;
  /** [inFeatures, inFeatures], (2 / sequences) XᵀX, both triangles. */
  readonly hessian?: Tensor;
}

/** One linear layer to prune. Methods know nothing of files, models or progress bars. */
export interface LinearProblem {
  /** Name for messages, such as "model.layers.0.mlp.up_proj". */
  readonly name: string;
  /** [outFeatures, inFeatures] f32; the method replaces its elements by the pruned ones. */
  readonly weight: Tensor;
  readonly statistics: Statistics;
  readonly sparsity: Sparsity;
  readonly backend: Backend;
  /** Where a method that draws random numbers starts. @default 0 */
  readonly seed?: number;
  /** Seconds after which a long optimisation stops; results then depend on the machine. */
  readonly seconds?: number;
  /** Keeps a long optimisation's state from time to time, and gives back what was kept. */
  readonly keeper?: Keeper;
  /** Cancels a long optimisation within 100 ms: `prune` rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** How far a long optimisation is, in [0, 1]. */
  readonly onProgress?: (fraction: number) => void;
}

export interface PruneOutcome {
  /** u8 [outFeatures, inFeatures], 1 = kept. The caller disposes it. */
  readonly mask: Tensor;
  /**
   * How the layer's weight is held, where `problem.weight` is only a part of it, such as a product
   * around it. The caller disposes its tensors.
   */
  readonly form?: Form;
  /** Iteration and proxy loss of an optimisation, at most 100 points from its start to its end. */
  readonly curve?: readonly (readonly [iteration: number, proxy: number])[];
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

/** A numeric option of a method: its default, its range, and what it means. */
export interface OptionSpec {
  readonly default: number;
  readonly min: number;
  readonly max: number;
  readonly integer?: boolean;
  readonly description: string;
}

/**
 * A pruning method: a pure function of one linear layer's problem.
 *
 * @typeParam Options its options by name
 */
export interface Method<Options extends object = Record<string, number>> {
  readonly name: string;
  /** One line for `--help` and the docs. */
  readonly summary: string;
  /** Paper that it follows. */
  readonly source: string;
  /** Statistics that it reads with these options; calibration gathers no others. */
  needs(options: Options): readonly StatisticName[];
  readonly options: { readonly [Key in keyof Options]: OptionSpec };
  /** Whether it is a long optimisation that stops after `LinearProblem.seconds`. @default false */
  readonly isTimed?: boolean;
  /** Why it cannot prune to this sparsity; the sentence completes "<method> ". @default it can */
  refusal?(sparsity: Sparsity): string | undefined;
  /** For methods whose outcome has a form: that form of a weight of this shape, without its parts. */
  form?(shape: MatrixShape, options: Options): Form<undefined>;
  /** Prunes `problem.weight` in place. */
  prune(problem: LinearProblem, options: Options): Promise<PruneOutcome>;
}

/**
 * Fills a method's options with its defaults and checks each given one.
 *
 * @throws PenjingError for an unknown name (with the nearest valid one) or a value out of range
 */
export function resolveOptions<Options extends object>(
  method: Method<Options>,
  given: Readonly<Record<string, unknown>> = {},
): Options {
  const specs = Object.entries(method.options) as [string, OptionSpec][];
  refuseUnknownKeys(
    method.name,
    given,
    specs.map(([name]) => name),
  );
  const resolved: Record<string, number> = {};
  for (const [name, spec] of specs) {
    const value = given[name] ?? spec.default;
    const valid =
      typeof value === "number" &&
      value >= spec.min &&
      value <= spec.max &&
      (!spec.integer || Number.isInteger(value));
    if (!valid) {
      throw new PenjingError(
        method.name,
        `${name} is ${JSON.stringify(value)}, must be ${spec.integer ? "a whole number" : "a number"} from ${spec.min} to ${spec.max} (default ${spec.default}): ${spec.description}.`,
      );
    }
    resolved[name] = value;
  }
  return resolved as Options;
}

/** The entry of `registry` called `name`, or an error that lists the names and the nearest one. */
export function lookUp<T>(registry: Readonly<Record<string, T>>, name: string, where: string): T {
  if (Object.hasOwn(registry, name)) return registry[name];
  const valid = Object.keys(registry);
  const near = nearest(name, valid);
  throw new PenjingError(
    where,
    `"${name}" is not known${near ? `; did you mean "${near}"?` : "."} Valid: ${valid.join(", ")}.`,
  );
}
