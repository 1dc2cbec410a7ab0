import { colsOf, type Tensor } from "../../tensor.js";
import type { GpuTensor } from "./buffers.js";
import type { Stream } from "./stream.js";

/** A part of a matrix, from an element on. */
export interface Part {
  readonly matrix: Tensor;
  readonly row: number;
  readonly col: number;
}

export interface TrailingOptions {
  /** Read b as [n, k] and use its transpose. @default false */
  readonly transposeB?: boolean | undefined;
  /** Only elements on and below the diagonal of out's part. @default false */
  readonly lower?: boolean | undefined;
}

const TILE = 64;

/** out [m, n] -= a [m, k] b [k, n] for parts of matrices: what a finished block does to the rest. */
export function updateTrailing(
  stream: Stream,
  [m, n, k]: readonly [number, number, number],
  { a, b, out }: { readonly a: Part; readonly b: Part; readonly out: Part },
  { transposeB = false, lower = false }: TrailingOptions = {},
): void {
  if (m <= 0 || n <= 0 || k <= 0) return;
  const places = [a, b, out].flatMap(({ matrix, row, col }) => {
    const cols = colsOf(matrix);
    return [row * cols + col, cols];
  });
  stream.dispatch({
    shader: "trailing",
    constants: { TRANSPOSE_B: transposeB, LOWER: lower },
    operands: [a.matrix, b.matrix, out.matrix] as GpuTensor[],
    parameters: [m, n, k, ...places],
    groups: [Math.ceil(n / TILE), Math.ceil(m / TILE)],
  });
}
