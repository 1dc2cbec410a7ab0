import type { ConfigReader } from "../../../config-reader.js";
import { PenjingError } from "../../../errors.js";
import { quote } from "../../../quote.js";

/** How a config.json must name an activation. */
export interface ActivationRule {
  readonly key: string;
  /** Names of the same function; the first is the usual one. */
  readonly names: readonly string[];
  /** What they are, for messages. */
  readonly what: string;
}

/** @throws PenjingError for another activation than the family's */
export function checkActivation(config: ConfigReader, { key, names, what }: ActivationRule): void {
  const activation = config.text(key, names[0]);
  if (names.includes(activation)) return;
  throw new PenjingError(
    config.where,
    `${key} is "${activation}"; only "${names[0]}" (${what}) is supported, so this model cannot be run here.`,
  );
}

/**
 * Refuses other values than the one that is run.
 *
 * @throws PenjingError naming the first key
 */
export function refuseSet(
  config: ConfigReader,
  values: Readonly<Record<string, boolean | number>>,
): void {
  for (const [key, value] of Object.entries(values)) {
    if (!config.has(key) || config.raw(key) === value) continue;
    throw new PenjingError(
      config.where,
      `"${key}" is ${quote(config.raw(key))}; only ${value} is supported, so this model would be run wrong and is refused.`,
    );
  }
}

/**
 * Sizes of a model whose heads share its width.
 *
 * @throws PenjingError for a missing or wrong number, and when heads do not divide the width
 */
export function headSizes(config: ConfigReader, widthKey: string, headsKey: string) {
  const [hiddenSize, heads] = [config.count(widthKey), config.count(headsKey)];
  if (hiddenSize % heads === 0) return { hiddenSize, heads, headDim: hiddenSize / heads };
  throw new PenjingError(
    config.where,
    `${headsKey} ${heads} does not divide ${widthKey} ${hiddenSize}; take config.json from the model's own folder.`,
  );
}
