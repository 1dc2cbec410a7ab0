import { BYTES_PER_ELEMENT, colsOf, i32, rowsOf, type Tensor } from "../../tensor.js";
import type { Claim, KernelMatrix } from "../forms.js";
import { checkIds } from "../ids.js";
import {
  address,
  cut,
  formatOf,
  freeing,
  hasScales,
  type Kernels,
  queueRanges,
  TILES,
  withValues,
} from "./kernels.js";
import { IN_ROWS, multiply, withPacked } from "./product.js";

/** Where the weights of a matrix are, in the prepared form of assembly/kernels/dense.ts. */
interface DenseWeights {
  readonly rows: number;
  readonly cols: number;
  /** As numbered in assembly/lib/half.ts. */
  readonly format: number;
  readonly weights: number;
  /** 0 where there are none. */
  readonly scales: number;
}

/** out [tokens, rows] = x Wᵀ + bias, the weights widened on the way. */
function widenAndMultiply(
  kernels: Kernels,
  x: Tensor,
  { rows, cols, format, weights, scales }: DenseWeights,
  out: Tensor,
  bias: Tensor | undefined,
): void {
  const { sizes } = kernels;
  const tokens = rowsOf(x);
  const operands = [weights, scales, address(out), bias ? address(bias) : 0, tokens, rows, cols];
  const work = tokens * rows * cols;
  const run = (at: number) =>
    queueRanges(
      kernels,
      "denseRows",
      cut(kernels, rows, TILES, work),
      work,
      ({ count }) => sizes.denseScratch(format, tokens, count, cols),
      ({ start, count }) => [format, at, ...operands, start, start + count],
    );
  const at = address(x);
  if (tokens <= Number(sizes.GEMM_FEW_TOKENS)) run(at);
  else {
    const stored = { at, ld: cols, layout: IN_ROWS };
    withPacked(kernels, stored, { side: "a", lines: tokens, k: cols }, run);
  }
}

/** The same for weights of f32 and more than one token. */
function multiplyFloats(
  kernels: Kernels,
  x: Tensor,
  { rows: n, cols: k, weights }: DenseWeights,
  out: Tensor,
  bias: Tensor | undefined,
): void {
  const { GEMM_FEW_TOKENS } = kernels.sizes;
  const [tokens, a, to] = [rowsOf(x), address(x), address(out)];
  const few = tokens <= Number(GEMM_FEW_TOKENS);
  if (bias || few) {
    kernels.queue("gemmFillRows", [[tokens, n, bias ? address(bias) : 0, to]]);
  }
  if (!few) {
    const [left, right] = [a, weights].map((at) => ({ at, ld: k, layout: IN_ROWS }));
    const shape = { m: tokens, n, k, a: left, b: right };
    multiply(kernels, { ...shape, out: to, ldo: n, overwrite: !bias });
    return;
  }
  const work = tokens * n * k;
  const ranges = cut(kernels, n, TILES, work);
  const calls = ranges.map(({ start, count }) => [
    ...[tokens, count, k, a, weights + 4 * start * k, to + 4 * start, n],
  ]);
  kernels.queue("gemmFewTokens", calls, work);
}

function matrixOf(
  kernels: Kernels,
  dense: DenseWeights,
  bytes: number,
  dispose: () => void,
): KernelMatrix {
  const { rows, cols, format, weights, scales } = dense;
  return {
    ...{ rows, cols, bytes, dispose },
    multiply(x, out, bias) {
      const run = format !== 0 || rowsOf(x) === 1 ? widenAndMultiply : multiplyFloats;
      run(kernels, x, dense, out, bias);
    },
    embed(ids, out) {
      const [tokens, to] = [i32(ids), address(out)];
      checkIds("embed", tokens, rows);
      tokens.forEach((id, t) => {
        kernels.exports.denseWiden(format, weights, scales, id, 1, cols, to + 4 * cols * t);
      });
    },
  };
}

/** An f32 tensor as it is. */
export function plain(kernels: Kernels, weight: Tensor): KernelMatrix {
  const [rows, cols] = [rowsOf(weight), colsOf(weight)];
  const dense = { rows, cols, format: 0, weights: address(weight), scales: 0 };
  return matrixOf(kernels, dense, 4 * weight.size, () => {});
}

export function denseClaim(kernels: Kernels): Claim {
  const { storage, exports } = kernels;
  return (form) => {
    if (form.kind !== "leaf" || form.structure.kind !== "dense") return undefined;
    const format = formatOf(form);
    if (format === undefined) return undefined;
    const [rows, cols] = form.shape;
    const weightBytes = rows * cols * BYTES_PER_ELEMENT[form.parts.get("values")!.dtype];
    const scalesAt = Math.ceil(weightBytes / 16) * 16;
    const bytes = hasScales(format) ? scalesAt + 4 * rows : weightBytes;
    const weights = storage.allocate(bytes);
    const scales = hasScales(format) ? weights + scalesAt : 0;
    withValues(kernels, form, scales, (values) =>
      exports.densePrepare(format, values, rows, cols, weights, scales),
    );
    const dense = { rows, cols, format, weights, scales };
    return matrixOf(kernels, dense, bytes, freeing(kernels, weights, bytes));
  };
}
