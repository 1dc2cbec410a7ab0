/**
 * Scales and minima of a grid with units, 256 columns of a row at a time (GridTensors.units), in the
 * order of assembly/lib/grid-blocks.ts: sums in four lanes of float32, what follows from them in float64.
 */
import {
  type FitOptions,
  MOST_LEVEL,
  nearest,
  nearestHalf,
  SIGNED_LEVELS,
  stepsOf,
} from "../operations/fit-scales.js";
import { type GridShape, type GroupScale, sumOf } from "./grid-values.js";

const { fround } = Math;

/** A value within a range; its least where the value is none. */
function within(value: number, least: number, most: number): number {
  const below = most < value ? most : value;
  return least < below ? below : least;
}

/** The multiple of a unit that is nearest to a value, between two multiples. */
export function multipleOf(unit: number, value: number, least: number, most: number): number {
  return unit === 0 ? 0 : fround(within(nearest(fround(value / unit)), least, most) * unit);
}

/** Sums over a group for some codes l: of omega * l, omega * l² and omega * l * x. */
function sumsOf(x: Float32Array, omega: Float32Array, codeOf: (x: number) => number) {
  const codes = Float32Array.from(x, codeOf);
  const weighed = codes.map((code, i) => omega[i] * code);
  return {
    sl: sumOf(x.length, (i) => weighed[i]),
    sll: sumOf(x.length, (i) => fround(weighed[i] * codes[i])),
    sxl: sumOf(x.length, (i) => fround(weighed[i] * x[i])),
  };
}

/** The values of a group are about scale * code - minimum. */
interface Fit {
  readonly scale: number;
  readonly minimum: number;
}

/**
 * Scale and minimum of the least error among those that fit the codes of some ranges: from the least value to
 * the greatest one, or without minima around 0, where the scale may be negative.
 */
function fitRun(
  x: Float32Array,
  omega: Float32Array,
  { most, middle }: GridShape,
  hasMinima: boolean,
  steps: Float32Array,
): Fit {
  const low = hasMinima ? x.reduce((least, value) => Math.min(least, value), 0) : 0;
  const high = x.reduce((largest, value) => Math.max(largest, value));
  const extreme = x.reduce((one, value) => (Math.abs(value) > Math.abs(one) ? value : one), 0);
  const span = hasMinima ? fround(high - low) : -extreme;
  const [bottom, top] = hasMinima ? [0, most] : [-middle, most - middle];
  const sw = sumOf(x.length, (i) => omega[i]);
  const sx = sumOf(x.length, (i) => fround(omega[i] * x[i]));
  const sxx = sumOf(x.length, (i) => fround(fround(omega[i] * x[i]) * x[i]));
  let best: Fit = { scale: hasMinima && span > 0 ? fround(span / most) : 0, minimum: -low };
  let least = Number.POSITIVE_INFINITY;
  for (const step of span === 0 ? [] : steps) {
    const inverse = fround(step / span);
    const { sl, sll, sxl } = sumsOf(x, omega, (value) =>
      within(nearest(fround(fround(value - low) * inverse)), bottom, top),
    );
    const determinant = sw * sll - sl * sl;
    if (hasMinima && !(determinant > 0)) continue;
    let scale = (sw * sxl - sx * sl) / determinant;
    let offset = (sll * sx - sl * sxl) / determinant;
    if (!hasMinima || offset > 0) [scale, offset] = [sxl / sll, 0];
    const error = sxx - scale * sxl - offset * sx;
    // Not of another sign than the range, nor NaN where all codes are 0.
    if (!(error < least) || !(scale * span > 0)) continue;
    least = error;
    best = { scale: fround(scale), minimum: fround(-offset) };
  }
  return best;
}

function errorOf(shape: GridShape, x: Float32Array, omega: Float32Array, group: GroupScale) {
  return sumOf(x.length, (i) => {
    const gap = fround(shape.value(shape.code(x[i], group), group) - x[i]);
    return fround(fround(omega[i] * gap) * gap);
  });
}

/** The multiple of a unit nearest to a value, and those beside it. */
function around(unit: number, value: number, [least, most]: readonly [number, number]): number[] {
  const level = unit === 0 ? 0 : within(nearest(fround(value / unit)), least, most);
  const levels = [level, level - 1, level + 1].filter((one) => one >= least && one <= most);
  return levels.map((one) => fround(one * unit));
}

/**
 * Units of a block and the scales of its groups: each group's are fitted alone, the largest tells the
 * unit, and then each group takes of the nearest multiples, and those beside them, the best.
 *
 * @param x [256], 0 where the mask removes
 * @param omega [256]
 * @returns the unit of the scales, and that of the minima where there are any
 */
export function fitBlock(
  shape: GridShape,
  x: Float32Array,
  omega: Float32Array,
  hasMinima: boolean,
  { bits, search }: Pick<FitOptions, "bits" | "search">,
): { readonly units: readonly number[]; readonly groups: readonly GroupScale[] } {
  const { groupSize } = shape.options;
  const steps = stepsOf(bits, hasMinima, search);
  const runs = Array.from({ length: x.length / groupSize }, (_, i) => {
    const [own, weights] = [x, omega].map((all) =>
      all.subarray(i * groupSize, (i + 1) * groupSize),
    );
    return { own, weights, fit: fitRun(own, weights, shape, hasMinima, steps) };
  });
  const largest = (name: keyof Fit) =>
    runs.reduce((one, { fit }) => (Math.abs(fit[name]) > Math.abs(one) ? fit[name] : one), 0);
  // The largest scale of a grid around 0 becomes the least level, of which there is no positive.
  const extreme = hasMinima ? MOST_LEVEL : SIGNED_LEVELS[0];
  // NaN where a value is not finite, and then the unit is.
  const broken = x.reduce((sum, value) => sum + value * 0, 0);
  const unit = nearestHalf(fround(largest("scale") / extreme)) + broken;
  const minimumUnit = hasMinima ? nearestHalf(fround(largest("minimum") / MOST_LEVEL)) : 0;
  const levels = hasMinima ? ([0, MOST_LEVEL] as const) : SIGNED_LEVELS;
  const zero = hasMinima ? 0 : shape.middle;
  const groups = runs.map(({ own, weights, fit }) => {
    let least = Number.POSITIVE_INFINITY;
    let best: GroupScale = { scale: 0, zero };
    for (const scale of around(unit, fit.scale, levels)) {
      for (const minimum of around(minimumUnit, fit.minimum, [0, hasMinima ? MOST_LEVEL : 0])) {
        const group = { scale, zero, minimum };
        const error = errorOf(shape, own, weights, group);
        if (!(error < least)) continue;
        least = error;
        best = group;
      }
    }
    return best;
  });
  return { units: hasMinima ? [unit, minimumUnit] : [unit], groups };
}
