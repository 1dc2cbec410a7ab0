import { PenjingError } from "./errors.js";
import type { Random } from "./random.js";

export interface SamplingOptions {
  /** 0 takes the likeliest token; higher values flatten the distribution. @default 0 */
  readonly temperature?: number | undefined;
  /** Draw from this many likeliest tokens; 0 = all. @default 0 */
  readonly topK?: number | undefined;
  /** Draw from the likeliest tokens that together reach this probability. @default 1 */
  readonly topP?: number | undefined;
}

/** @throws PenjingError for a value out of range */
export function checkSampling({ temperature = 0, topK = 0, topP = 1 }: SamplingOptions): void {
  const rule = (holds: boolean, where: string, message: string) => {
    if (!holds) throw new PenjingError(where, message);
  };
  rule(
    Number.isFinite(temperature) && temperature >= 0,
    "temperature",
    `it is ${temperature}, must be a number of at least 0 (0 takes the likeliest token).`,
  );
  rule(
    Number.isSafeInteger(topK) && topK >= 0,
    "topK",
    `it is ${topK}, must be a whole number of at least 0 (0 keeps all tokens).`,
  );
  rule(topP > 0 && topP <= 1, "topP", `it is ${topP}, must be above 0 and at most 1.`);
}

/** Index of the largest element; the first of equals. */
export function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/** Likeliest tokens that top-p looks at first; eight times as many each time they do not suffice. */
const FIRST_CANDIDATES = 64;

/** The `count` likeliest ids, likeliest first, the lower id of equals. `sorted` is ascending. */
function likeliest(logits: Float32Array, sorted: Float32Array, count: number): number[] {
  const least = sorted[Math.max(0, sorted.length - count)];
  const ids: number[] = [];
  for (let id = 0; id < logits.length; id++) if (logits[id] >= least) ids.push(id);
  return ids.sort((a, b) => logits[b] - logits[a] || a - b).slice(0, count);
}

/**
 * Draws a token id: temperature first, then top-k, then top-p, as transformers orders them.
 *
 * @param logits [vocabSize]
 */
export function sample(logits: Float32Array, options: SamplingOptions, random: Random): number {
  const { temperature = 0, topK = 0, topP = 1 } = options;
  const best = argmax(logits);
  if (temperature === 0) return best;
  const weigh = (id: number) => Math.exp((logits[id] - logits[best]) / temperature);
  if (topK === 0 && topP === 1) return draw(Array.from(logits.keys()), weigh, random);
  const sorted = logits.slice().sort();
  const limit = topK > 0 ? Math.min(topK, logits.length) : logits.length;
  if (topP === 1) return draw(likeliest(logits, sorted, limit), weigh, random);
  const pool = topK > 0 ? likeliest(logits, sorted, limit) : Array.from(logits.keys());
  const wanted = topP * pool.reduce((sum, id) => sum + weigh(id), 0);
  for (let count = FIRST_CANDIDATES; ; count *= 8) {
    const ids = likeliest(logits, sorted, Math.min(count, limit));
    // The shortest run of likeliest tokens whose weight reaches topP, the last one included.
    let mass = 0;
    const reached = ids.findIndex((id) => {
      mass += weigh(id);
      return mass >= wanted;
    });
    if (reached >= 0) return draw(ids.slice(0, reached + 1), weigh, random);
    if (count >= limit) return draw(ids, weigh, random);
  }
}

/** One of `ids`, each with a chance in proportion to its weight. */
function draw(ids: readonly number[], weigh: (id: number) => number, random: Random): number {
  let left = random.next() * ids.reduce((sum, id) => sum + weigh(id), 0);
  for (const id of ids) {
    left -= weigh(id);
    if (left < 0) return id;
  }
  // Rounding may leave a crumb; the last token with any weight takes it.
  return ids.findLast((id) => weigh(id) > 0) ?? ids[0];
}
