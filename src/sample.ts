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

/** Below this, a temperature only tells equals from each other; its inverse is a float32 still. */
const LEAST_TEMPERATURE = 1e-20;

/** What logits are divided by before softmax, for a temperature above 0. */
export function divisorOf(temperature: number): number {
  return Math.max(temperature, LEAST_TEMPERATURE);
}

/** Floats of one class have the same exponent and the same first bits of the mantissa. */
const CLASS_SHIFT = 19;
const CLASSES = 2 ** (32 - CLASS_SHIFT - 1);

/** Draws tokens by their probabilities. Only so many of them are put in order as a limit cuts through. */
export class Sampler {
  private readonly all: Int32Array;
  private readonly kept: Int32Array;
  private readonly counts = new Int32Array(CLASSES);
  private readonly masses = new Float64Array(CLASSES);

  constructor(vocabSize: number) {
    this.all = new Int32Array(vocabSize).map((_, id) => id);
    this.kept = new Int32Array(vocabSize);
  }

  /**
   * Draws a token id after top-k, and then top-p.
   *
   * @param shares [vocabSize] probabilities, after the temperature, or multiples of them
   */
  draw(shares: Float32Array, options: SamplingOptions, random: Random): number {
    const { topK = 0, topP = 1 } = options;
    let ids = this.all;
    if (topK > 0 && topK < ids.length) ids = this.keep(shares, ids, { count: topK });
    if (topP < 1) ids = this.keep(shares, ids, { mass: topP * massOf(shares, ids) });
    let left = random.next() * massOf(shares, ids);
    for (let i = 0; i < ids.length; i++) {
      left -= shares[ids[i]];
      if (left < 0) return ids[i];
    }
    // Rounding may leave a crumb; the last token with any weight takes it.
    return ids.findLast((id) => shares[id] > 0) ?? ids[0];
  }

  /** The likeliest of `ids`, as few as reach a limit; of equals the lower ids. */
  private keep(
    shares: Float32Array,
    ids: Int32Array,
    { count = Number.POSITIVE_INFINITY, mass = Number.POSITIVE_INFINITY },
  ): Int32Array {
    const { counts, masses, kept } = this;
    // Floats that are not negative are in the order of their bits.
    const bits = new Uint32Array(shares.buffer, shares.byteOffset, shares.length);
    counts.fill(0);
    masses.fill(0);
    for (let i = 0; i < ids.length; i++) {
      const at = bits[ids[i]] >>> CLASS_SHIFT;
      counts[at]++;
      masses[at] += shares[ids[i]];
    }
    let [edge, size, sum] = [CLASSES - 1, 0, 0];
    while (edge > 0 && size + counts[edge] < count && sum + masses[edge] < mass) {
      size += counts[edge];
      sum += masses[edge];
      edge--;
    }
    const cut: number[] = [];
    let end = 0;
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i];
      const at = bits[id] >>> CLASS_SHIFT;
      if (at > edge) kept[end++] = id;
      else if (at === edge) cut.push(id);
    }
    for (const id of cut.sort((a, b) => shares[b] - shares[a] || a - b)) {
      if (end >= count || sum >= mass) break;
      kept[end++] = id;
      sum += shares[id];
    }
    return kept.subarray(0, end);
  }
}

function massOf(shares: Float32Array, ids: Int32Array): number {
  let mass = 0;
  for (let i = 0; i < ids.length; i++) mass += shares[ids[i]];
  return mass;
}
