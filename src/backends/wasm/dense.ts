import type { DenseMatrix, Operations, WeightOptions } from "../../backend.js";
import { BYTES_PER_ELEMENT, colsOf, f32, i32, rowsOf, type Tensor } from "../../tensor.js";
import { checkIds } from "../ids.js";
import { address, cut, F16, formatOf, I8, type Kernels, runRanges } from "./kernels.js";
import { IN_ROWS, withPacked } from "./product.js";

/** Where the weights of a matrix are, in the prepared form of assembly/kernels/dense.ts. */
export interface DenseWeights {
  readonly rows: number;
  readonly cols: number;
  /** As numbered in assembly/lib/half.ts. */
  readonly format: number;
  readonly weights: number;
  /** 0 where there are none. */
  readonly scales: number;
}

/** Rows that threads keep together. */
const GRAIN = 64;

/** The weights of a matrix that was prepared, or that needs no preparation; undefined for others. */
export function denseWeights(weight: Tensor | DenseMatrix): DenseWeights | undefined {
  if ("weights" in weight) return weight as DenseMatrix & DenseWeights;
  const tensor = weight as Tensor;
  if (tensor.dtype !== "f32") return undefined;
  const [rows, cols] = [rowsOf(tensor), colsOf(tensor)];
  return { rows, cols, format: 0, weights: address(tensor), scales: 0 };
}

/** Whether a format has a scale for each row. */
export function hasScales(format: number): boolean {
  return format === F16 || format === I8;
}

/** out [tokens, rows] = x Wᵀ + bias, the weights widened on the way. */
export function denseLinear(
  kernels: Kernels,
  x: Tensor,
  { rows, cols, format, weights, scales }: DenseWeights,
  out: Tensor,
  bias: Tensor | undefined,
): void {
  const { exports } = kernels;
  const tokens = rowsOf(x);
  const operands = [weights, scales, address(out), bias ? address(bias) : 0, tokens, rows, cols];
  const work = tokens * rows * cols;
  const run = (at: number) =>
    runRanges(
      kernels,
      "denseRows",
      cut(kernels, rows, GRAIN, work),
      work,
      ({ count }) => exports.denseScratch(format, tokens, count, cols),
      ({ start, count }) => [format, at, ...operands, start, start + count],
    );
  const at = address(x);
  if (tokens <= Number(exports.GEMM_FEW_TOKENS)) run(at);
  else {
    const stored = { at, ld: cols, layout: IN_ROWS };
    withPacked(kernels, stored, { side: "a", lines: tokens, k: cols }, run);
  }
}

function prepare(kernels: Kernels, weight: Tensor, options: WeightOptions = {}): DenseMatrix {
  const { storage, exports } = kernels;
  const [rows, cols] = [rowsOf(weight), colsOf(weight)];
  const format = formatOf(weight, options);
  const weightBytes = weight.size * BYTES_PER_ELEMENT[weight.dtype];
  const scalesAt = Math.ceil(weightBytes / 16) * 16;
  const bytes = hasScales(format) ? scalesAt + 4 * rows : weightBytes;
  const weights = storage.allocate(bytes);
  const scales = hasScales(format) ? weights + scalesAt : 0;
  const { scales: given } = options;
  if (given) new Float32Array(storage.memory.buffer, scales, rows).set(f32(given));
  exports.densePrepare(format, address(weight), rows, cols, weights, scales);
  let live = true;
  const matrix: DenseMatrix & DenseWeights = {
    ...{ rows, cols, bytes, format, weights, scales },
    dispose() {
      if (live) storage.free(weights, bytes);
      live = false;
    },
  };
  return matrix;
}

export function bind(kernels: Kernels): Partial<Operations> {
  return {
    prepareLinear: (weight, options) => prepare(kernels, weight, options),
    embed(table, ids, out) {
      const { rows, cols, format, weights, scales } = denseWeights(table) as DenseWeights;
      const [tokens, to] = [i32(ids), address(out)];
      checkIds("embed", tokens, rows);
      tokens.forEach((id, t) => {
        kernels.exports.denseWiden(format, weights, scales, id, 1, cols, to + 4 * cols * t);
      });
    },
  };
}
