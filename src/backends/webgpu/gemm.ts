import type { Operations } from "../../backend.js";
import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { GemmOptions } from "../operations/gemm.js";
import type { GpuTensor } from "./buffers.js";
import { float } from "./pipelines.js";
import type { Stream } from "./stream.js";

/** Tokens up to which a product reads the weights row by row, without tiles. */
export const FEW_TOKENS = 8;
/** Tokens that share one reading of a row of weights. */
export const TOKENS_A_GROUP = 4;
/** A product with fewer tiles of 128 x 128 leaves a large GPU idle; it takes tiles of 64 x 64. */
const ENOUGH_LARGE_TILES = 64;

export interface TiledOptions extends GemmOptions {
  readonly bias?: Tensor | undefined;
  /** Only elements on and above the diagonal. */
  readonly upper?: boolean | undefined;
}

/** Rows [start, start + count) of a matrix. */
export function rowsFrom(tensor: Tensor, start: number, count: number): GpuTensor {
  const cols = colsOf(tensor);
  return (tensor as GpuTensor).view([count, cols], start * cols);
}

/** Columns from `start` on of a matrix, for shaders that know how far its rows are apart. */
export function columnsFrom(tensor: Tensor, start: number): GpuTensor {
  return (tensor as GpuTensor).view([tensor.size - start], start);
}

/** Elements [start, start + count) of a vector, where there is one. */
export function elementsFrom(tensor: Tensor | undefined, start: number, count: number) {
  return (tensor as GpuTensor | undefined)?.view([count], start);
}

/** out [m, n] = alpha * A B (+ out, + bias), by tiles; what is too large to bind, by stretches. */
export function tiledProduct(
  stream: Stream,
  a: Tensor,
  b: Tensor,
  out: Tensor,
  options: TiledOptions,
): void {
  const { transposeA = false, transposeB = false, accumulate = false, bias } = options;
  const whole: Extent = { m: rowsOf(out), n: colsOf(out), pitch: colsOf(out) };
  if (transposeA && !transposeB) {
    // Stretches of the dimension that is summed over, added up in out.
    const parts = stream.stretches(rowsOf(a), a, b);
    for (const [start, count] of parts) {
      const [left, right] = [rowsFrom(a, start, count), rowsFrom(b, start, count)];
      const isFirst = start === 0;
      const part = {
        ...options,
        accumulate: accumulate || !isFirst,
        bias: isFirst ? bias : undefined,
      };
      productNow(stream, left, right, out as GpuTensor, part, whole);
    }
    if (parts.length === 0) productNow(stream, a, b, out as GpuTensor, options, whole);
    return;
  }
  const rowParts = transposeA ? [[0, whole.m]] : stream.stretches(whole.m, a, out);
  const colParts = transposeB ? stream.stretches(whole.n, b) : [[0, whole.n]];
  for (const [row, m] of rowParts) {
    const left = transposeA ? a : rowsFrom(a, row, m);
    for (const [col, n] of colParts) {
      const right = transposeB ? rowsFrom(b, col, n) : b;
      const target = columnsFrom(rowsFrom(out, row, m), col);
      const part = { ...options, bias: elementsFrom(bias, col, n) };
      productNow(stream, left, right, target, part, { m, n, pitch: whole.pitch });
    }
  }
}

/** Rows and columns of a product, and how far the rows of what it is written to are apart. */
interface Extent {
  readonly m: number;
  readonly n: number;
  readonly pitch: number;
}

function productNow(
  stream: Stream,
  a: Tensor,
  b: Tensor,
  out: GpuTensor,
  options: TiledOptions,
  { m, n, pitch }: Extent,
): void {
  const { transposeA = false, transposeB = false, alpha = 1, accumulate = false } = options;
  const k = transposeA ? rowsOf(a) : colsOf(a);
  const { constants, groups } = tilesOf(m, n);
  stream.dispatch({
    shader: "gemm",
    constants: {
      ...constants,
      TRANSPOSE_A: transposeA,
      TRANSPOSE_B: transposeB,
      ACCUMULATE: accumulate,
      UPPER: options.upper ?? false,
      HALF: b.dtype === "u16",
    },
    operands: [a, b, options.bias, out] as GpuTensor[],
    parameters: [m, n, k, float(alpha), Number(options.bias !== undefined), pitch],
    groups,
  });
}

/** What the shader of a product [m, n] by tiles is told of them, and its workgroups. */
export function tilesOf(m: number, n: number) {
  const isLarge = Math.ceil(m / 128) * Math.ceil(n / 128) >= ENOUGH_LARGE_TILES;
  const tile = isLarge ? 128 : 64;
  const groups = [Math.ceil(n / tile), Math.ceil(m / tile)] as const;
  return { constants: { QUADS: tile / 64, LARGE: isLarge }, groups };
}

export function bind(stream: Stream): Partial<Operations> {
  return {
    gemm(a, b, out, options = {}) {
      tiledProduct(stream, a, b, out, options);
    },
  };
}
