import { PenjingError } from "./errors.js";
import type { Random } from "./random.js";

export interface SamplingOptions {
  /** 0 takes the likeliest token; higher values flatten the distribution. @default 0 */
  readonly temperature?: number;
  /** Draw from this many likeliest tokens; 0 = all. @default 0 */
  readonly topK?: number;
  /** Draw from the likeliest tokens that together reach this probability. @default 1 */
  readonly topP?: number;
}

/** @throws PenjingError for a value out of range */
export function checkSampling({ temperature = 0, topK = 0, topP = 1 }: SamplingOptions): void {
  const rule = (holds: boolean, where: string, message: string) => {
    if (!holds) throw new PenjingError(where, message);
  };
  rule(
    Number.isFinite(temperature) && temperature >= 0,
    "--temperature",
    `it is ${temperature}, must be a number of at least 0 (0 takes the likeliest token).`,
  );
  rule(
    Number.isSafeInteger(topK) && topK >= 0,
    "--top-k",
    `it is ${topK}, must be a whole number of at least 0 (0 keeps all tokens).`,
  );
  rule(topP > 0 && topP <= 1, "--top-p", `it is ${topP}, must be above 0 and at most 1.`);
}

/** Index of the largest element; the first of equals. */
export function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/**
 * Draws a token id: temperature first, then top-k, then top-p, as transformers orders them.
 *
 * @param logits [vocabSize]
 */
export function sample(logits: Float32Array, options: SamplingOptions, random: Random): number {
  const { temperature = 0, topK = 0, topP = 1 } = options;
  if (temperature === 0) return argmax(logits);
  const order = Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a] || a - b);
  const kept = topK > 0 ? order.slice(0, topK) : order;
  const highest = logits[kept[0]];
  const weights = kept.map((id) => Math.exp((logits[id] - highest) / temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  // The shortest run of likeliest tokens whose probability reaches topP, the last one included.
  let count = 0;
  let mass = 0;
  while (count < weights.length && (count === 0 || mass < topP * total)) mass += weights[count++];
  let draw = random.next() * mass;
  for (let i = 0; i < count; i++) {
    draw -= weights[i];
    if (draw < 0) return kept[i];
  }
  return kept[count - 1];
}
