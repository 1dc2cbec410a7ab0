/** The scaling of rotary embeddings, as transformers' config.json says it. */
import { PenjingError } from "../../errors.js";
import type { RopeSpec } from "../../model.js";
import type { Keys } from "./keys.js";

/** Divisors of the frequencies, one for each pair of a head's elements, in this tensor. */
export const ROPE_FREQS = "rope_freqs.weight";

/** What Llama 3.1 and 3.2 have: most files are theirs. */
const USUAL = { low: 1, high: 4 };
/** Contexts that models were trained on first, the usual one before the others. */
const CONTEXTS = [8192, ...Array.from({ length: 20 }, (_, i) => 2 ** (i + 3))];
/** By how much factors may differ that were computed in another order, relative to them. */
const TOLERANCE = 1e-5;

type Llama3Rope = NonNullable<RopeSpec["llama3"]>;

interface Llama3 {
  readonly factor: number;
  readonly low: number;
  readonly high: number;
  readonly context: number;
}

/** Llama 3's divisor of a frequency, by its wavelength. */
function divisor({ factor, low, high, context }: Llama3, wavelength: number): number {
  if (wavelength < context / high) return 1;
  if (wavelength > context / low) return factor;
  const t = (context / wavelength - low) / (high - low);
  return 1 / ((1 - t) / factor + t);
}

/**
 * Llama 3's divisors, one for each pair of a head's elements.
 *
 * @param theta the base of the frequencies
 * @param dims elements of a head that are rotated
 */
export function llama3Divisors(
  { factor, lowFreqFactor: low, highFreqFactor: high, originalContext: context }: Llama3Rope,
  theta: number,
  dims: number,
): Float32Array {
  return Float32Array.from({ length: dims / 2 }, (_, i) =>
    divisor({ factor, low, high, context }, 2 * Math.PI * theta ** ((2 * i) / dims)),
  );
}

/**
 * The scaling of the kind llama3 of which these are the divisors.
 *
 * @param factors a divisor for each frequency
 * @param theta the base of the frequencies
 * @param name of the file, for messages
 * @returns undefined where they change nothing
 * @throws PenjingError where there is none
 */
export function llama3Scaling(
  factors: Float32Array,
  theta: number,
  name: string,
): Record<string, unknown> | undefined {
  if (factors.every((factor) => factor === 1)) return undefined;
  const factor = factors.reduce((most, one) => Math.max(most, one), 1);
  const waves = Array.from(factors, (_, i) => 2 * Math.PI * theta ** (i / factors.length));
  const fits = (guess: Llama3) =>
    factors.every((found, i) => {
      return Math.abs(divisor(guess, waves[i]) / found - 1) <= TOLERANCE;
    });
  const guesses = CONTEXTS.map((context) => ({ factor, ...USUAL, context }));
  const fitted = fit(factors, waves, factor);
  if (fitted) guesses.push(fitted);
  const found = guesses.find(fits);
  if (!found) {
    throw new PenjingError(
      name,
      `its tensor ${ROPE_FREQS} holds divisors of the rotary frequencies that are not those of Llama 3's formula, which config.json could say; take the model's safetensors.`,
    );
  }
  return {
    ...{ rope_type: "llama3", factor: found.factor, low_freq_factor: found.low },
    ...{ high_freq_factor: found.high, original_max_position_embeddings: found.context },
  };
}

/**
 * The parameters by the frequencies that are between both ends: there t is linear in 1 / wavelength. One
 * of the three is free, and the distance of the two factors is taken to be the usual one.
 */
function fit(factors: Float32Array, waves: readonly number[], factor: number): Llama3 | undefined {
  const points = Array.from(factors, (found, i) => ({
    x: 1 / waves[i],
    t: (1 / found - 1 / factor) / (1 - 1 / factor),
  })).filter(({ t }) => t > 1e-4 && t < 1 - 1e-4);
  const [first, last] = [points[0], points[points.length - 1]];
  if (points.length < 2) return undefined;
  const slope = (first.t - last.t) / (first.x - last.x);
  const distance = USUAL.high - USUAL.low;
  const context = Math.round(slope * distance);
  const low = (slope * first.x - first.t) * distance;
  return context > 0 && low > 0 ? { factor, low, high: low + distance, context } : undefined;
}

/**
 * The scaling that the keys ask for.
 *
 * @returns undefined where there is none
 * @throws PenjingError for a kind that config.json has no words for
 */
export function keyScaling(keys: Keys, arch: string): Record<string, unknown> | undefined {
  const of = (key: string) => `${arch}.rope.scaling.${key}`;
  const type = keys.text(of("type")) ?? (keys.has(of("factor")) ? "linear" : "none");
  const linear = keys.positive(`${arch}.rope.scale_linear`, 1);
  if (type === "none") return linear === 1 ? undefined : { rope_type: "linear", factor: linear };
  const factor = keys.positive(of("factor"), 1);
  if (type === "linear") return factor === 1 ? undefined : { rope_type: "linear", factor };
  if (type !== "yarn") keys.fail(of("type"), '"none", "linear" or "yarn"');
  const scaling: Record<string, unknown> = {
    ...{ rope_type: "yarn", factor },
    original_max_position_embeddings: keys.count(of("original_context_length")),
  };
  for (const key of ["attn_factor", "yarn_attn_factor", "yarn_log_multiplier", "yarn_ext_factor"]) {
    if (keys.positive(of(key), 1) !== 1) keys.fail(of(key), "1, the only value that is understood");
  }
  for (const end of ["beta_fast", "beta_slow"]) {
    if (keys.has(of(`yarn_${end}`))) scaling[end] = keys.positive(of(`yarn_${end}`));
  }
  return scaling;
}
