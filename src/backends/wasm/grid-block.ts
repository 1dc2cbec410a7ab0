/** What the kernels for grids share: the grid as they read it, and their work block by block. */
import { pacer } from "../../run.js";
import { colsOf, f32, rowsOf, type Tensor } from "../../tensor.js";
import type { Cancellable } from "../operations/contract.js";
import {
  droppedBits,
  type FitOptions,
  factorsOf,
  fittedTogether,
  type GridTensors,
  leastScale,
  stepsOf,
  tableFactorsOf,
} from "../operations/fit-scales.js";
import { type GridSweepOptions, gridBlocks } from "../operations/grid-sweep.js";
import { address, bytesAt, equalRanges, type Kernels, runRanges } from "./kernels.js";
import { type ColumnBlock, updateTrailing } from "./trailing.js";

/** Rows whose results are added up together, whatever the number of threads. */
export const CHUNK = 64;

/** Bytes before the factors, as in assembly/lib/grid.ts. */
const HEAD = 44;

/** What tells a grid's levels: its tensors beside codes and scales. */
type Levels = Pick<GridTensors, "zeros" | "minima" | "units" | "table">;

/** What makes the candidates of a group. */
export function candidatesOf(
  { zeros, minima, units, table }: Levels,
  { bits, search, isTernary }: Pick<FitOptions, "bits" | "search" | "isTernary">,
): Float32Array {
  if (isTernary) return new Float32Array(0);
  if (table) return tableFactorsOf(bits, search);
  if (units) return stepsOf(bits, minima !== undefined, search);
  return factorsOf(bits, zeros === undefined, search);
}

/** Writes at an address what kernels read of a grid; the bytes that it takes. */
function settingsOf(
  grid: Levels,
  {
    bits,
    groupSize,
    isTernary,
    scaleType = "f16",
    search = false,
    pattern,
  }: Partial<GridSweepOptions>,
  cols: number,
): Uint8Array {
  const factors = candidatesOf(grid, { bits: bits!, search, isTernary });
  const table = grid.table ? f32(grid.table) : new Float32Array(0);
  const halfway = Array.from(table.subarray(1), (entry, i) => (table[i] + entry) / 2);
  const floats = [...factors, ...table, ...halfway];
  const settings = new Uint8Array(HEAD + 4 * floats.length);
  const view = new DataView(settings.buffer);
  const size = Math.min(groupSize!, Math.max(1, cols));
  view.setInt32(0, size, true);
  view.setFloat32(4, 2 ** bits! - 1, true);
  view.setFloat32(8, grid.minima ? 0 : 2 ** (bits! - 1), true);
  view.setInt32(12, droppedBits(scaleType), true);
  view.setFloat32(16, leastScale(scaleType), true);
  view.setInt32(20, factors.length, true);
  view.setInt32(24, fittedTogether(grid, size), true);
  view.setInt32(28, pattern?.m ?? 0, true);
  view.setInt32(32, pattern ? pattern.m - pattern.n : 0, true);
  view.setFloat32(36, isTernary ? 1 : 0, true);
  view.setInt32(40, table.length, true);
  floats.forEach((float, i) => {
    view.setFloat32(HEAD + 4 * i, float, true);
  });
  return settings;
}

/** Runs `use` with the address of a grid's settings. */
export async function withGrid<T>(
  kernels: Kernels,
  grid: Levels,
  options: Partial<GridSweepOptions>,
  cols: number,
  use: (settings: number) => T | Promise<T>,
): Promise<T> {
  const settings = settingsOf(grid, options, cols);
  const { storage } = kernels;
  const at = storage.reserve(settings.length);
  bytesAt(kernels, at, settings.length).set(settings);
  try {
    return await use(at);
  } finally {
    storage.free(at, settings.length);
  }
}

/**
 * Addresses of some rows of a grid's codes, scales, zero points, minima and units, in the order in which
 * kernels take them; 0 of those that there are none of.
 */
export function gridAddresses(
  { codes, scales, zeros, minima, units }: GridTensors,
  row: number,
): readonly number[] {
  return [codes, scales, zeros, minima, units].map((tensor) => rowAddress(tensor, row));
}

/** The address of a row of a tensor; 0 where there is none. */
export function rowAddress(tensor: Tensor | undefined, row: number): number {
  if (!tensor) return 0;
  const bytes = tensor.dtype === "u8" ? 1 : 4;
  return address(tensor) + row * colsOf(tensor) * bytes;
}

/** Work on a block: arguments of its kernel for the rows from `row` on. */
type BlockArguments = (
  block: ColumnBlock,
  row: number,
  count: number,
  errors: number,
) => readonly number[];

/**
 * Goes through the columns of w block by block: a kernel does the block and tells its errors, which
 * are then taken off the columns after it.
 *
 * @param u [C, C], whose rows the errors are multiplied by; `m` as of `gridBlocks`
 * @param scratch bytes of scratch of the kernel on a block of some width
 * @returns the sum of what the kernel returns
 */
export async function sweepBlocks(
  kernels: Kernels,
  kernel: string,
  {
    w,
    u,
    groupSize,
    m,
    signal,
  }: { w: Tensor; u: Tensor; groupSize: number; m?: number | undefined } & Cancellable,
  scratch: (width: number) => number,
  args: BlockArguments,
): Promise<number> {
  const { storage } = kernels;
  const [rows, cols] = [rowsOf(w), colsOf(w)];
  const breathe = pacer(signal);
  const blocks = gridBlocks(cols, groupSize, m);
  const widest = blocks.reduce((most, { width }) => Math.max(most, width), 0);
  const bytes = rows * widest * 4;
  const errors = storage.reserve(bytes);
  let sum = 0;
  try {
    for (const { start, width } of blocks) {
      const wAt = address(w) + start * 4;
      const uAt = address(u) + start * (cols + 1) * 4;
      const block: ColumnBlock = { rows, cols, start, width, w: wAt, u: uAt };
      const parts = runRanges(
        kernels,
        kernel,
        equalRanges(rows, CHUNK),
        rows * width * BLOCK_WORK,
        () => scratch(width),
        ({ start: row, count }) => args(block, row, count, errors + row * width * 4),
      );
      for (const part of parts) sum += part;
      await updateTrailing(kernels, block, errors, breathe);
    }
  } finally {
    storage.free(errors, bytes);
  }
  return sum;
}

/** Multiply-adds for each weight of a block, about. */
const BLOCK_WORK = 200;
