import { K_BLOCK } from "../../forms/k-type.js";
import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { Contracts } from "./contract.js";
import type { HalfFormat } from "./convert.js";
import { dtype, matrix, rule, vector } from "./rules.js";

/**
 * A matrix [R, C] on a grid, as the parts of a leaf hold it (form.ts): the value is (u - z) * s, or
 * u * s - m where there are minima, or table[u] * s where there is a table.
 */
export interface GridTensors {
  /** u8 [R, C], the codes u. */
  readonly codes: Tensor;
  /** f32 [R, K], s of each group of columns, K = ceil(C / groupSize). */
  readonly scales: Tensor;
  /** u8 [R, K], z of each group. Without them the grid is symmetric, and z is 2^(bits - 1). */
  readonly zeros?: Tensor | undefined;
  /** f32 [R, K], m of each group of some grids with units; without them m is 0. */
  readonly minima?: Tensor | undefined;
  /**
   * f32, of grids as ggml's K types have them, whose scales are whole multiples of a half d that 256
   * columns share: d times -128 to 127 without minima, and d [R, C / 256]; with minima d times 0 to 63,
   * and m times 0 to 63 of another half, [R, 2 C / 256], d before the other. Such groups are of 16
   * columns without minima and of 32 with them, and nothing is masked with minima.
   */
  readonly units?: Tensor | undefined;
  /**
   * f32 [2^bits], the levels of a grid of at most 4 bits without zero points, minima or units: whole
   * numbers from -127 to 127, none below the one before it, and not all 0. Nothing is masked there.
   */
  readonly table?: Tensor | undefined;
}

export interface GridOptions {
  /** Bits of a code, 1 to 8. */
  readonly bits: number;
  /** Columns that share a scale; the last group of a row may have fewer. */
  readonly groupSize: number;
  /** Of a symmetric grid of 2 bits: use the codes 1, 2 and 3 alone, which are -1, 0 and 1. @default false */
  readonly isTernary?: boolean | undefined;
  /** What scales are rounded to before any code is computed. */
  readonly scaleType: HalfFormat;
  /** u8 [R, C], 1 = kept: the others have the code z, which is 0. @default all are kept */
  readonly mask?: Tensor | undefined;
}

export interface FitOptions extends GridOptions {
  /** Try other scales than the one that spans a group, of either sign. */
  readonly search: boolean;
}

export interface FitScalesOperations {
  /**
   * Puts a matrix on a grid, group by group: scales, zero points, and the nearest codes to w. Of the
   * candidates (`factorsOf`) the first is taken whose sum of omega * (value - w)² is the least; with a table
   * what fits its codes best follows, up to twice, while that falls. The scale of three levels is the one
   * with the least sum of all. It is computed in f32, in one order, so that every backend chooses the same.
   *
   * @param w [R, C]
   * @param omega [C], what the error of a column weighs; above 0
   * @param grid written
   */
  fitScales(w: Tensor, omega: Tensor, grid: GridTensors, options: FitOptions): Promise<void>;
  /** out [R, C] = the values of a grid. */
  fromGrid(
    grid: GridTensors,
    out: Tensor,
    options: Pick<GridOptions, "bits" | "groupSize">,
  ): Promise<void>;
}

/** The scale of a group of zeros, and the least size of one in f16: GPUs may take less for 0. */
export const SMALLEST_HALF = 2 ** -14;

/** The least size of a scale. */
export function leastScale(scaleType: HalfFormat): number {
  return scaleType === "f16" ? SMALLEST_HALF : 2 ** -126;
}

/** Bits of an f32 that a scale does not have. */
export function droppedBits(scaleType: HalfFormat): number {
  return scaleType === "f16" ? 13 : 16;
}

/** To the nearest whole number, ties to even. */
export function nearest(x: number): number {
  const up = Math.round(x);
  return up - x === 0.5 && up % 2 !== 0 ? up - 1 : up;
}

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** A scale as it is stored: rounded, and no smaller than the least. */
export function roundScale(scale: number, scaleType: HalfFormat): number {
  const drop = droppedBits(scaleType);
  float[0] = scale;
  bits[0] += 2 ** (drop - 1) - 1 + ((bits[0] >>> drop) & 1);
  bits[0] = (bits[0] >>> drop) << drop;
  const least = leastScale(scaleType);
  if (Math.abs(float[0]) < least) return Math.sign(scale) < 0 ? -least : least;
  return float[0];
}

/** The half nearest to a value; infinite above the largest one. */
export function nearestHalf(value: number): number {
  const size = Math.abs(value);
  // Halves are 2^-10 of the power of two below them apart, and below the smallest 2^-24.
  const power = 2 ** Math.floor(Math.log2(Math.max(size, SMALLEST_HALF)));
  const half = nearest((size * 1024) / power) * (power / 1024);
  return Math.sign(value) * (half < 65536 ? half : Number.POSITIVE_INFINITY);
}

/** Groups of columns of a row. */
export function groupCount(cols: number, groupSize: number): number {
  return Math.max(1, Math.ceil(cols / groupSize));
}

const range = (from: number, step: number, count: number) =>
  Float32Array.from({ length: count }, (_, i) => from + step * i);

/**
 * What the scale that spans a group is multiplied by for the candidates beside it, in order. Symmetric
 * grids try each with both signs, + first; others with the nearest zero point, the one below and the
 * one above. The more levels there are, the less it pays to clip the largest weights.
 */
export function factorsOf(bits: number, isSymmetric: boolean, search: boolean): Float32Array {
  if (!search || bits === 8) return new Float32Array(0);
  if (bits > 4) return range(1, 0, 1);
  if (isSymmetric) return bits === 4 ? range(0.6, 0.02, 26) : range(0.3, 0.02, 41);
  return bits === 4 ? range(0.7, 0.025, 15) : range(0.4, 0.02, 36);
}

/**
 * The same of a grid with a table, of the scale whose largest level is the largest weight of a group; each is
 * tried with both signs, + first. Of two levels that are as far from 0 the best scale follows from the codes.
 */
export function tableFactorsOf(bits: number, search: boolean): Float32Array {
  return search && bits > 1 ? range(0.5, 0.025, 33) : new Float32Array(0);
}

/** How often a scale is fitted to codes that a table has, at most. */
export const TABLE_ROUNDS = 2;
/** Most bits of a grid with a table. */
export const MOST_TABLE_BITS = 4;

/** Columns whose scales are fitted together. */
export function fittedTogether({ units }: Pick<GridTensors, "units">, groupSize: number): number {
  return units ? K_BLOCK : groupSize;
}

/** The largest multiple of a unit that scales and minima are where there are minima. */
export const MOST_LEVEL = 63;
/** The least multiple and the largest that scales are where there are none. */
export const SIGNED_LEVELS = [-128, 127] as const;

/**
 * Steps that the range of a group of a grid with units is cut into for the candidates, in order: of the
 * whole range with minima, else of the largest weight on its side of 0.
 */
export function stepsOf(bits: number, hasMinima: boolean, search: boolean): Float32Array {
  const usual = hasMinima ? 2 ** bits - 1 : 2 ** (bits - 1);
  if (!search) return range(usual, 0, 1);
  return hasMinima ? range(usual - 0.8, 0.2, 21) : range(usual - 8, 2, 21);
}

/** Requires the tensors of a grid of a matrix [rows, cols], and options that one can have. */
export function checkGrid(
  operation: string,
  { codes, scales, zeros, minima, units, table }: GridTensors,
  {
    bits,
    groupSize,
    mask,
    isTernary,
  }: Pick<GridOptions, "bits" | "groupSize" | "mask" | "isTernary">,
  [rows, cols]: readonly [number, number],
): void {
  const isCount = (value: number, most: number) =>
    Number.isSafeInteger(value) && value >= 1 && value <= most;
  rule(operation, isCount(bits, 8), `bits is ${bits}, must be a whole number from 1 to 8.`);
  rule(
    operation,
    isCount(groupSize, Number.MAX_SAFE_INTEGER),
    `groupSize is ${groupSize}, must be a whole number of at least 1.`,
  );
  matrix(operation, "codes", codes, rows, cols, "u8");
  const groups = groupCount(cols, groupSize);
  matrix(operation, "scales", scales, rows, groups);
  if (zeros) matrix(operation, "zeros", zeros, rows, groups, "u8");
  if (mask) matrix(operation, "mask", mask, rows, cols, "u8");
  if (minima) matrix(operation, "minima", minima, rows, groups);
  rule(operation, !minima || units !== undefined, "a grid with minima needs units.");
  const isPlain = !zeros && !minima && !units;
  const isThree = bits === 2 && isPlain && !table;
  rule(operation, !isTernary || isThree, "a ternary grid is a symmetric one of 2 bits.");
  if (table) {
    const fits = bits <= MOST_TABLE_BITS && isPlain && !mask;
    const needs = `at most ${MOST_TABLE_BITS} bits, and no zero points, units or mask`;
    rule(operation, fits, `a grid with a table has ${needs}.`);
    vector(operation, "table", table, 2 ** bits);
  }
  if (!units) return;
  rule(
    operation,
    !zeros && !(minima && mask),
    "a grid with units has no zero points, and with minima no mask.",
  );
  const size = minima ? 32 : 16;
  rule(
    operation,
    groupSize === size && cols % K_BLOCK === 0,
    `a grid with units has groups of ${size} in whole blocks of ${K_BLOCK} columns, found ${groupSize} in ${cols}.`,
  );
  matrix(operation, "units", units, rows, ((minima ? 2 : 1) * cols) / K_BLOCK);
}

export const fitScales: Contracts<FitScalesOperations> = {
  fitScales: {
    check(w, omega, grid, options) {
      dtype("fitScales", "w", w, "f32");
      vector("fitScales", "omega", omega, colsOf(w));
      checkGrid("fitScales", grid, options, [rowsOf(w), colsOf(w)]);
    },
  },
  fromGrid: {
    check(grid, out, options) {
      dtype("fromGrid", "out", out, "f32");
      checkGrid("fromGrid", grid, options, [rowsOf(out), colsOf(out)]);
    },
  },
};
