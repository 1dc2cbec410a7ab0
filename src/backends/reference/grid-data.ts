import { f32, u8 } from "../../tensor.js";
import type { GridOptions, GridTensors } from "../operations/fit-scales.js";
import { fitGroup, GridShape, type GroupScale } from "./grid-values.js";

/** A grid's tensors on the host, by row and column. */
export class GridData {
  private readonly codes: Uint8Array;
  private readonly scales: Float32Array;
  private readonly zeros: Uint8Array | undefined;
  private readonly mask: Uint8Array | undefined;
  readonly shape: GridShape;

  constructor(
    grid: GridTensors,
    private readonly cols: number,
    private readonly options: Pick<GridOptions, "bits" | "groupSize" | "mask">,
  ) {
    this.codes = u8(grid.codes);
    this.scales = f32(grid.scales);
    this.zeros = grid.zeros && u8(grid.zeros);
    this.mask = options.mask && u8(options.mask);
    this.shape = new GridShape(cols, options);
  }

  private groupAt(row: number, col: number): number {
    return row * this.shape.groups + Math.floor(col / this.options.groupSize);
  }

  scaleOf(row: number, col: number): GroupScale {
    const at = this.groupAt(row, col);
    return { scale: this.scales[at], zero: this.zeros?.[at] ?? this.shape.middle };
  }

  setScale(row: number, col: number, { scale, zero }: GroupScale): void {
    const at = this.groupAt(row, col);
    this.scales[at] = scale;
    if (this.zeros) this.zeros[at] = zero;
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

  /** Fits the group of columns that begins at `col` to a row's values. */
  fit(
    row: number,
    col: number,
    values: ArrayLike<number>,
    omega: Float32Array,
    options: Parameters<typeof fitGroup>[4],
  ): void {
    const end = Math.min(this.cols, col + this.options.groupSize);
    const x = Float32Array.from({ length: end - col }, (_, i) =>
      this.isKept(row, col + i) ? values[col + i] : 0,
    );
    const weights = omega.subarray(col, end);
    this.setScale(row, col, fitGroup(this.shape, x, weights, !this.zeros, options));
  }
}
