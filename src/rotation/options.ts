import { PenjingError, refuseUnknownKeys } from "../errors.js";
import {
  PARAMETRISATIONS,
  ROTATION_DEFAULTS,
  ROTATION_LOSSES,
  ROTATION_OBJECTIVES,
  type RotationOptions,
  type RotationPattern,
} from "../rotation.js";
import { LARGEST_M } from "../sparsity.js";

/** Options whose absence means something, or nothing. */
type Optional = "signal" | "onProgress" | "keeper" | "blockSize" | "learningRate";
export type ResolvedRotation = Required<Omit<RotationOptions, Optional>> &
  Pick<RotationOptions, Optional>;

/**
 * Fills in the defaults of a search's options.
 *
 * @param where they come from, for messages
 * @throws PenjingError for an unknown option or a value out of range
 */
export function resolveRotation(options: RotationOptions, where = "rotation"): ResolvedRotation {
  const defaults = ROTATION_DEFAULTS;
  const parametrisation = options.parametrisation ?? defaults.parametrisation;
  const resolved = {
    objective: options.objective ?? defaults.objective,
    loss: options.loss ?? defaults.loss,
    pattern: options.pattern ?? defaults.pattern,
    steps: options.steps ?? defaults.steps,
    parametrisation,
    learningRate: options.learningRate,
    blockSize: options.blockSize,
    damping: options.damping ?? defaults.damping,
    scoreDamping: options.scoreDamping ?? defaults.scoreDamping,
    seconds: options.seconds ?? Number.POSITIVE_INFINITY,
    keeper: options.keeper,
    signal: options.signal,
    onProgress: options.onProgress,
  };
  refuseUnknownKeys(where, options, Object.keys(resolved));
  const rule = (holds: boolean, name: keyof ResolvedRotation, message: string) => {
    if (!holds) throw new PenjingError(where, `${name} is ${resolved[name]}, must be ${message}.`);
  };
  const { objective, loss, steps, learningRate = 0.01, damping, scoreDamping, seconds } = resolved;
  const oneOf = (names: readonly string[]) => `one of ${names.join(", ")}`;
  rule(ROTATION_OBJECTIVES.includes(objective), "objective", oneOf(ROTATION_OBJECTIVES));
  rule(ROTATION_LOSSES.includes(loss), "loss", oneOf(ROTATION_LOSSES));
  rule(PARAMETRISATIONS.includes(parametrisation), "parametrisation", oneOf(PARAMETRISATIONS));
  rule(Number.isInteger(steps) && steps >= 0, "steps", "a whole number of at least 0");
  rule(learningRate > 0 && learningRate <= 1, "learningRate", "above 0 and at most 1");
  rule(damping >= 0 && damping <= 100, "damping", "from 0 to 100");
  rule(scoreDamping >= 0 && scoreDamping <= 100, "scoreDamping", "from 0 to 100");
  rule(seconds > 0, "seconds", "a number above 0");
  checkPattern(resolved.pattern, where);
  return resolved;
}

function checkPattern({ n, m }: RotationPattern, where: string): void {
  const whole = Number.isInteger(n) && Number.isInteger(m);
  if (whole && n >= 0 && n <= m && m >= 1 && m <= LARGEST_M) return;
  throw new PenjingError(
    where,
    `pattern is ${n}:${m}, must keep n of every m weights with 0 <= n <= m and 1 <= m <= ${LARGEST_M}.`,
  );
}

/**
 * @param blockSize columns that Q mixes with one another
 * @param hidden columns of the residual stream
 * @throws PenjingError when the one does not divide the other
 */
export function checkBlockSize(blockSize: number, hidden: number): void {
  if (Number.isInteger(blockSize) && blockSize >= 1 && hidden % blockSize === 0) return;
  throw new PenjingError(
    "rotation",
    `blockSize is ${blockSize}, must be a whole number that divides the residual stream's ${hidden} columns.`,
  );
}
