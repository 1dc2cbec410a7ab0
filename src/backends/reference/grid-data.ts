import { f32, u8 } from "../../tensor.js";
import {
  type FitOptions,
  fittedTogether,
  type GridOptions,
  type GridTensors,
} from "../operations/fit-scales.js";
import type { KeptPattern } from "../operations/grid-sweep.js";
import { keepLargest } from "../selection.js";
import { fitBlock } from "./grid-blocks.js";
import { fitLevels } from "./grid-levels.js";
import { GridShape, type GroupScale } from "./grid-values.js";

/** A grid's tensors on the host, by row and column. */
export class GridData {
  private readonly codes: Uint8Array;
  private readonly scales: Float32Array;
  private readonly zeros: Uint8Array | undefined;
  private readonly minima: Float32Array | undefined;
  private readonly units: Float32Array | undefined;
  private readonly mask: Uint8Array | undefined;
  readonly shape: GridShape;
  /** Columns whose scales are fitted together. */
  readonly span: number;

  constructor(
    grid: GridTensors,
    private readonly cols: number,
    private readonly options: Pick<GridOptions, "bits" | "groupSize" | "isTernary" | "mask">,
  ) {
    this.codes = u8(grid.codes);
    this.scales = f32(grid.scales);
    this.zeros = grid.zeros && u8(grid.zeros);
    this.minima = grid.minima && f32(grid.minima);
    this.units = grid.units && f32(grid.units);
    this.span = fittedTogether(grid, options.groupSize);
    this.mask = options.mask && u8(options.mask);
    this.shape = new GridShape(cols, options, grid.table && f32(grid.table));
  }

  private groupAt(row: number, col: number): number {
    return row * this.shape.groups + Math.floor(col / this.options.groupSize);
  }

  scaleOf(row: number, col: number): GroupScale {
    const at = this.groupAt(row, col);
    const usual = this.minima ? 0 : this.shape.middle;
    const zero = this.zeros?.[at] ?? usual;
    return { scale: this.scales[at], zero, minimum: this.minima?.[at] };
  }

  setScale(row: number, col: number, { scale, zero, minimum = 0 }: GroupScale): void {
    const at = this.groupAt(row, col);
    this.scales[at] = scale;
    if (this.zeros) this.zeros[at] = zero;
    if (this.minima) this.minima[at] = minimum;
  }

  /** What a group's scale and minimum are multiples of; undefined in a grid without units. */
  unitsOf(row: number, col: number): readonly [scale: number, minimum?: number] | undefined {
    if (!this.units) return undefined;
    const block = (row * this.cols + col - (col % this.span)) / this.span;
    if (!this.minima) return [this.units[block]];
    return [this.units[2 * block], this.units[2 * block + 1]];
  }

  isKept(row: number, col: number): boolean {
    return this.mask?.[row * this.cols + col] !== 0;
  }

  codeOf(row: number, col: number): number {
    return this.codes[row * this.cols + col];
  }

  setCode(row: number, col: number, code: number): void {
    this.codes[row * this.cols + col] = code;
  }

  /** Puts a value at its place, and gives back what it became. */
  put(row: number, col: number, x: number): number {
    const group = this.scaleOf(row, col);
    const code = this.isKept(row, col) ? this.shape.code(x, group) : group.zero;
    this.setCode(row, col, code);
    return this.shape.value(code, group);
  }

  /** Writes the mask of some whole groups of m: what keeps the n largest of values² * omega. */
  keep(
    row: number,
    first: number,
    end: number,
    values: ArrayLike<number>,
    omega: Float32Array,
    { n, m }: KeptPattern,
  ): void {
    const { fround } = Math;
    const scores = Float32Array.from({ length: end - first }, (_, i) => {
      const value = fround(values[first + i]);
      return fround(value * value) * omega[first + i];
    });
    const start = row * this.cols + first;
    const mask = this.mask!.subarray(start, start + scores.length);
    for (let i = 0; i < scores.length; i += m) keepLargest(scores, mask, i, n, m);
  }

  /** Fits the groups of columns that are fitted together, from `col` on, to a row's values. */
  fit(
    row: number,
    col: number,
    values: ArrayLike<number>,
    omega: Float32Array,
    options: Pick<FitOptions, "bits" | "search" | "scaleType">,
  ): void {
    const end = Math.min(this.cols, col + this.span);
    const x = Float32Array.from({ length: end - col }, (_, i) =>
      this.isKept(row, col + i) ? values[col + i] : 0,
    );
    const weights = omega.subarray(col, end);
    if (!this.units) {
      this.setScale(row, col, fitLevels(this.shape, x, weights, !this.zeros, options));
      return;
    }
    const { units, groups } = fitBlock(this.shape, x, weights, this.minima !== undefined, options);
    const block = (row * this.cols + col) / this.span;
    this.units.set(units, block * units.length);
    for (const [i, group] of groups.entries()) {
      this.setScale(row, col + i * this.options.groupSize, group);
    }
  }
}
