/**
 * Codes, values and scales of a group on a grid, in float32 and in the order of assembly/lib/grid.ts,
 * so that both choose the same.
 */
import {
  type FitOptions,
  factorsOf,
  type GridOptions,
  groupCount,
  nearest,
  roundScale,
  SMALLEST_HALF,
} from "../operations/fit-scales.js";

const { fround } = Math;

/** What a group's codes are read with. */
export interface GroupScale {
  readonly scale: number;
  readonly zero: number;
  /** @default 0 */
  readonly minimum?: number | undefined;
}

/** The entry of a table that is nearest to a level, the lower one of two. */
export function entryOf(table: Float32Array, level: number): number {
  let entry = 0;
  for (let i = 1; i < table.length; i++) if (level > (table[i - 1] + table[i]) / 2) entry++;
  return entry;
}

/** The grid of a matrix: how many bits, which groups, which levels. */
export class GridShape {
  /** The least code and the largest. */
  readonly least: number;
  readonly most: number;
  readonly groups: number;

  /** @param table the levels; those of codes less their zero points without one */
  constructor(
    cols: number,
    readonly options: Pick<GridOptions, "bits" | "groupSize" | "isTernary">,
    readonly table?: Float32Array | undefined,
  ) {
    this.least = options.isTernary ? 1 : 0;
    this.most = 2 ** options.bits - 1;
    this.groups = groupCount(cols, options.groupSize);
  }

  /** The zero point of a symmetric grid. */
  get middle(): number {
    return 2 ** (this.options.bits - 1);
  }

  code(x: number, { scale, zero, minimum = 0 }: GroupScale): number {
    if (this.table) return entryOf(this.table, fround(x / scale));
    const level = fround(nearest(fround(fround(x + minimum) / scale)) + zero);
    // NaN has the least code, as 0 is what a conversion to integers makes of it.
    return Math.max(this.least, Math.min(level, this.most) || 0);
  }

  /** What a code's value is a multiple of the scale by. */
  level(code: number, { zero }: Pick<GroupScale, "zero">): number {
    return this.table ? this.table[code] : code - zero;
  }

  value(code: number, { scale, zero, minimum = 0 }: GroupScale): number {
    return fround(fround(this.level(code, { zero }) * scale) - minimum);
  }
}

/** Adds up in four lanes. */
export function sumOf(count: number, term: (i: number) => number): number {
  const lanes = [0, 0, 0, 0];
  for (let i = 0; i < count; i++) lanes[i % 4] = fround(lanes[i % 4] + term(i));
  return fround(fround(lanes[0] + lanes[2]) + fround(lanes[1] + lanes[3]));
}

/** The sum of omega * (value - x)², in four lanes. */
function errorOf(
  shape: GridShape,
  x: Float32Array,
  omega: Float32Array,
  group: GroupScale,
): number {
  const lanes = [0, 0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    const level = fround(nearest(fround(x[i] / group.scale)) + group.zero);
    const code = Math.max(0, Math.min(level, shape.most));
    const gap = fround(shape.value(code, group) - x[i]);
    lanes[i % 4] = fround(lanes[i % 4] + fround(fround(omega[i] * gap) * gap));
  }
  return fround(fround(lanes[0] + lanes[2]) + fround(lanes[1] + lanes[3]));
}

/**
 * Scale and zero point of a group, as `fitScales` says.
 *
 * @param x [n], 0 where the mask removes
 * @param omega [n]
 */
export function fitGroup(
  shape: GridShape,
  x: Float32Array,
  omega: Float32Array,
  isSymmetric: boolean,
  { bits: width, search, scaleType }: Pick<FitOptions, "bits" | "search" | "scaleType">,
): GroupScale {
  let [low, high] = [0, 0];
  for (const value of x) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const most = Math.max(-low, high);
  if (most === 0) return { scale: SMALLEST_HALF, zero: isSymmetric ? shape.middle : 0 };
  const span = isSymmetric
    ? fround(most / (shape.middle - 0.5))
    : fround(fround(high - low) / shape.most);
  const zero = isSymmetric
    ? shape.middle
    : Math.max(0, Math.min(nearest(fround(-low / span)), shape.most));
  let best: GroupScale = { scale: roundScale(span, scaleType), zero };
  const factors = factorsOf(width, isSymmetric, search);
  if (factors.length === 0) return best;
  let least = errorOf(shape, x, omega, best);
  const consider = (group: GroupScale) => {
    const error = errorOf(shape, x, omega, group);
    if (!(error < least)) return;
    least = error;
    best = group;
  };
  for (const factor of factors) {
    const scale = roundScale(fround(factor * span), scaleType);
    if (isSymmetric) {
      for (const sign of [1, -1]) consider({ scale: sign * scale, zero });
      continue;
    }
    for (const shift of [0, -1, 1]) {
      if (zero + shift < 0 || zero + shift > shape.most) continue;
      consider({ scale, zero: zero + shift });
    }
  }
  return best;
}
