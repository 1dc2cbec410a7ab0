import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import {
  type FitOptions,
  type GridOptions,
  groupCount,
} from "../../src/backends/operations/fit-scales.js";
import { fromFloat32, toFloat32 } from "../../src/checkpoint/dtype.js";
import type { KTypeName } from "../../src/form.js";
import { K_TYPES } from "../../src/forms/k-type.js";
import { blank, input, outputBytes, random, randomValues } from "./operands.js";

/** A grid's parts on the host. */
export interface HostGrid {
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
  readonly zeros: Uint8Array | undefined;
  readonly minima: Float32Array | undefined;
  readonly units: Float32Array | undefined;
  readonly table: Float32Array | undefined;
}

/** What a grid is, and how it is fitted. */
export type GridCase = Omit<FitOptions, "mask"> & {
  readonly symmetric: boolean;
  /** Of a grid with units alone. */
  readonly hasMinima?: boolean;
  /** Levels, of a grid with a table alone. */
  readonly table?: readonly number[];
};

/** A grid of the levels -1, 0 and 1, or of those of a table. */
export function levelsGrid(levels: "ternary" | readonly number[], groupSize: number): GridCase {
  const given = { groupSize, symmetric: true, search: true, scaleType: "f16" } as const;
  if (levels === "ternary") return { ...given, bits: 2, isTernary: true };
  return { ...given, bits: Math.log2(levels.length), table: levels };
}

/** Tables that are even, lopsided, with equal entries and without a 0. */
export const TABLES: readonly (readonly number[])[] = [
  [-1, 1],
  [-127, -20, 15, 90],
  [-90, -60, -31, 0, 0, 12, 60, 127],
  [-127, -96, -75, -58, -43, -30, -18, -6, 6, 18, 30, 43, 58, 75, 96, 127],
];

/** The grid of a K type. */
export function kGrid(type: KTypeName, search = true): GridCase {
  return { ...K_TYPES[type], symmetric: true, search, scaleType: "f16" };
}

/** An upper-triangular matrix like a Cholesky factor of an inverse Hessian. */
export function upperFactor(n: number): Float32Array {
  const u = randomValues(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      if (j < i) u[i * n + j] = 0;
      else if (j === i) u[i * n + j] = 0.5 + Math.abs(u[i * n + j]);
      else u[i * n + j] /= 2 * Math.sqrt(n);
    }
  }
  return u;
}

/** X Xᵀ of random inputs and something on the diagonal: symmetric, positive definite. */
export function hessianOf(n: number): Float32Array {
  const tokens = 2 * n;
  const x = randomValues(n * tokens);
  const h = new Float32Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = i === j ? 0.05 * tokens : 0;
      for (let t = 0; t < tokens; t++) sum += x[i * tokens + t] * x[j * tokens + t];
      h[i * n + j] = sum;
      h[j * n + i] = sum;
    }
  }
  return h;
}

/** A mask that removes about a third; undefined when nothing is to be masked. */
export function maskOf(size: number, isMasked: boolean): Uint8Array | undefined {
  return isMasked ? Uint8Array.from({ length: size }, () => Number(random() > 0.3)) : undefined;
}

/** Frames for a grid of [rows, cols]. */
export function frameGrid(
  backend: Backend,
  [rows, cols]: readonly [number, number],
  {
    groupSize,
    symmetric,
    hasMinima,
    table: levels,
  }: Pick<GridCase, "groupSize" | "symmetric" | "hasMinima" | "table">,
) {
  const groups = groupCount(cols, groupSize);
  const codes = outputBytes(backend, rows * cols, cols);
  const scales = blank(backend, rows * groups, groups);
  const zeros = symmetric ? undefined : outputBytes(backend, rows * groups, groups);
  const minima = hasMinima ? blank(backend, rows * groups, groups) : undefined;
  const each = ((hasMinima ? 2 : 1) * cols) / 256;
  const units = hasMinima === undefined ? undefined : blank(backend, rows * each, each);
  const entries = levels && Float32Array.from(levels);
  const table = entries && backend.upload(entries, [entries.length]);
  return {
    tensors: {
      ...{ codes: codes.view, scales: scales.view, zeros: zeros?.view },
      ...{ minima: minima?.view, units: units?.view, table },
    },
    read: async (): Promise<HostGrid> => ({
      codes: await codes.read(),
      scales: await scales.read(),
      zeros: await zeros?.read(),
      minima: await minima?.read(),
      units: await units?.read(),
      table: table && ((await backend.read(table)) as Float32Array),
    }),
  };
}

/** A mask as an operand. */
export function maskInput(backend: Backend, mask: Uint8Array | undefined, cols: number) {
  return mask && input(backend, mask, cols);
}

/** How a grid's values are read: scale, zero point and minimum of a place. */
export function readerOf(
  { scales, zeros, minima }: HostGrid,
  cols: number,
  { bits, groupSize }: Pick<GridOptions, "bits" | "groupSize">,
) {
  const groups = groupCount(cols, groupSize);
  return (i: number) => {
    const at = Math.floor(i / cols) * groups + Math.floor((i % cols) / groupSize);
    const usual = minima ? 0 : 2 ** (bits - 1);
    return { scale: scales[at], zero: zeros?.[at] ?? usual, minimum: minima?.[at] ?? 0 };
  };
}

/** The values of a grid, in float64. */
export function valuesOf(
  grid: HostGrid,
  cols: number,
  options: Pick<GridOptions, "bits" | "groupSize">,
): Float64Array {
  const read = readerOf(grid, cols, options);
  return Float64Array.from(grid.codes, (code, i) => {
    const { scale, zero, minimum } = read(i);
    const level = grid.table ? grid.table[code] : code - zero;
    return Math.fround(Math.fround(level * scale) - minimum);
  });
}

/** trace(D H Dᵀ) for D [rows, n]. */
export function quadratic(d: ArrayLike<number>, h: Float32Array, n: number): number {
  let sum = 0;
  for (let row = 0; row < d.length; row += n) {
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) sum += d[row + i] * d[row + j] * h[i * n + j];
    }
  }
  return sum;
}

/** Requires units that are halves, and scales and minima that are such multiples of them as are stored. */
export function assertLevels({ scales, minima, units }: HostGrid): void {
  const each = minima ? 2 : 1;
  const groups = (each * scales.length) / units!.length;
  const [least, most] = minima ? [0, 63] : [-128, 127];
  for (const [first, values] of [scales, minima].entries()) {
    values?.forEach((value, i) => {
      const unit = units![each * Math.floor(i / groups) + first];
      const level = unit === 0 && value === 0 ? 0 : value / unit;
      const isOne = Number.isInteger(level) && level >= least && level <= most;
      assert.ok(isOne, `${value} is ${level} times ${unit}`);
    });
  }
  const halves = toFloat32({ name: "units", dtype: "F16" }, fromFloat32("F16", units!));
  assert.equal(halves, units);
}
