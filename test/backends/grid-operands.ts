import type { Backend } from "../../src/backend.js";
import { type GridOptions, groupCount } from "../../src/backends/operations/fit-scales.js";
import { blank, input, outputBytes, random, randomValues } from "./operands.js";

/** A grid's parts on the host. */
export interface HostGrid {
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
  readonly zeros: Uint8Array | undefined;
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
  { groupSize, symmetric }: Pick<GridOptions, "groupSize"> & { readonly symmetric: boolean },
) {
  const groups = groupCount(cols, groupSize);
  const codes = outputBytes(backend, rows * cols, cols);
  const scales = blank(backend, rows * groups, groups);
  const zeros = symmetric ? undefined : outputBytes(backend, rows * groups, groups);
  return {
    tensors: { codes: codes.view, scales: scales.view, zeros: zeros?.view },
    read: async (): Promise<HostGrid> => ({
      codes: await codes.read(),
      scales: await scales.read(),
      zeros: await zeros?.read(),
    }),
  };
}

/** A mask as an operand. */
export function maskInput(backend: Backend, mask: Uint8Array | undefined, cols: number) {
  return mask && input(backend, mask, cols);
}

/** How a grid's values are read: scale and zero point of a place. */
export function readerOf(
  { scales, zeros }: HostGrid,
  cols: number,
  { bits, groupSize }: Pick<GridOptions, "bits" | "groupSize">,
) {
  const groups = groupCount(cols, groupSize);
  return (i: number) => {
    const at = Math.floor(i / cols) * groups + Math.floor((i % cols) / groupSize);
    return { scale: scales[at], zero: zeros?.[at] ?? 2 ** (bits - 1) };
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
    const { scale, zero } = read(i);
    return Math.fround((code - zero) * scale);
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
