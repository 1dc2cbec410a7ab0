import { POWERS } from "../backends/operations/rounding.js";
import { PenjingError } from "../errors.js";
import { type OptionsOf, resolveOptions } from "../options.js";
import {
  DEFAULT_PATTERN,
  type RotationOptions,
  type RotationPattern,
  SEARCH_OPTIONS,
} from "../rotation.js";
import { LARGEST_M } from "../sparsity.js";

export interface ResolvedRotation
  extends OptionsOf<typeof SEARCH_OPTIONS>,
    Pick<RotationOptions, "signal" | "onProgress" | "keeper"> {
  readonly pattern: RotationPattern;
  readonly headsOnly: boolean;
  readonly seconds: number;
}

/**
 * Fills in the defaults of a search's options.
 *
 * @param where they come from, for messages
 * @throws PenjingError for an unknown option or a value out of range
 */
export function resolveRotation(
  {
    pattern = DEFAULT_PATTERN,
    headsOnly = false,
    keeper,
    signal,
    onProgress,
    ...options
  }: RotationOptions,
  where = "rotation",
): ResolvedRotation {
  const resolved = resolveOptions(SEARCH_OPTIONS, options, where);
  checkPattern(pattern, where);
  checkPower(resolved.power, where);
  checkHeadsOnly(headsOnly, resolved.blockSize, where);
  const { seconds = Number.POSITIVE_INFINITY } = resolved;
  return { ...resolved, seconds, pattern, headsOnly, keeper, signal, onProgress };
}

function checkPattern({ n, m }: RotationPattern, where: string): void {
  const whole = Number.isInteger(n) && Number.isInteger(m);
  if (whole && n >= 0 && n <= m && m >= 1 && m <= LARGEST_M) return;
  throw new PenjingError(
    where,
    `pattern is ${n}:${m}, must keep n of every m weights with 0 <= n <= m and 1 <= m <= ${LARGEST_M}.`,
  );
}

/** @throws PenjingError for a p that is none of those that there are */
export function checkPower(power: number, where: string): void {
  if (POWERS.includes(power)) return;
  throw new PenjingError(where, `power is ${power}, must be 2, 4, 8 or 16.`);
}

/** @throws PenjingError when a search without a Q is told what Q mixes */
export function checkHeadsOnly(
  headsOnly: boolean,
  blockSize: number | undefined,
  where: string,
): void {
  if (!headsOnly || blockSize === undefined) return;
  throw new PenjingError(
    `${where}: blockSize`,
    "it says which columns of the residual stream are mixed, and heads alone are turned; leave it out.",
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
