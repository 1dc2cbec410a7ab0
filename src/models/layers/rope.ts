import type { RopeSpec, YarnRope } from "../../model.js";
import type { Tensor } from "../../tensor.js";
import type { LayerRun } from "./layer.js";

/**
 * Angles of the rotary embedding for each pair of elements, in radians per position.
 *
 * @returns half as many angles as elements are rotated, in float64
 */
export function ropeFrequencies(rope: RopeSpec, headDim: number): Float64Array {
  const { theta, llama3, linear, yarn, longrope, dims = headDim } = rope;
  const plain = Float64Array.from({ length: dims / 2 }, (_, i) => theta ** ((-2 * i) / dims));
  if (longrope) return plain.map((frequency, i) => frequency / longrope.factors[i]);
  if (linear) return plain.map((frequency) => frequency / linear.factor);
  if (yarn) return stretchByYarn(plain, theta, yarn);
  if (!llama3) return plain;
  const { factor, lowFreqFactor, highFreqFactor, originalContext } = llama3;
  return plain.map((frequency) => {
    const turns = (originalContext * frequency) / (2 * Math.PI);
    return stretched(frequency, factor, (turns - lowFreqFactor) / (highFreqFactor - lowFreqFactor));
  });
}

/** @param blend 0 and less for a wavelength that is stretched in full, 1 and more for one that stays */
function stretched(frequency: number, factor: number, blend: number): number {
  const kept = Math.min(1, Math.max(0, blend));
  return frequency * (kept + (1 - kept) / factor);
}

/** YaRN's blend runs over the pairs' indices (arXiv 2309.00071, section 3.2, in its released form). */
function stretchByYarn(plain: Float64Array, theta: number, yarn: YarnRope): Float64Array {
  const { factor, originalContext, betaFast, betaSlow, truncate } = yarn;
  const headDim = 2 * plain.length;
  /** The pair whose wavelength fits `turns` times into the original context. */
  const pairOf = (turns: number) =>
    (headDim * Math.log(originalContext / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const [fast, slow] = [pairOf(betaFast), pairOf(betaSlow)];
  const first = Math.max(truncate ? Math.floor(fast) : fast, 0);
  const last = Math.min(truncate ? Math.ceil(slow) : slow, headDim - 1);
  // Where the blend has no width, transformers gives it this one.
  const width = first === last ? 0.001 : last - first;
  return plain.map((frequency, i) => stretched(frequency, factor, 1 - (i - first) / width));
}

/** Tells tables apart; by the rope, since every token asks for it. */
const keys = new WeakMap<RopeSpec, string>();

function keyOf(rope: RopeSpec, headDim: number): string {
  const key = keys.get(rope) ?? JSON.stringify(["rope", rope, headDim]);
  keys.set(rope, key);
  return key;
}

/** Tables begin with this many positions and then double. */
const FEWEST_POSITIONS = 256;

/**
 * Cosines and sines of the angles of each position, [positions or more, a column for each pair that is
 * rotated] each, as long as is needed and not as long as the model's context.
 *
 * @param positions that are looked up
 */
export function ropeTables(
  rope: RopeSpec,
  headDim: number,
  positions: number,
  { backend, maxPositions, table }: LayerRun,
): readonly Tensor[] {
  let enough = FEWEST_POSITIONS;
  while (enough < positions) enough *= 2;
  const rows = Math.max(positions, Math.min(enough, maxPositions));
  return table(keyOf(rope, headDim), positions, () => {
    const frequencies = ropeFrequencies(rope, headDim);
    const half = frequencies.length;
    const scale = (rope.yarn ?? rope.longrope)?.attentionFactor ?? 1;
    const fill = (f: (angle: number) => number) => {
      const values = new Float32Array(rows * half);
      for (let row = 0, at = 0; row < rows; row++) {
        for (let i = 0; i < half; i++, at++) values[at] = f(row * frequencies[i]) * scale;
      }
      return backend.upload(values, [rows, half]);
    };
    return [fill(Math.cos), fill(Math.sin)];
  });
}
