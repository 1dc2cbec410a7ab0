import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { denseLinear, denseWeights } from "./dense.js";
import { address, cut, type Kernels, runRanges, TILES, withFloats } from "./kernels.js";

/** One product of matrices by the addresses of their first elements. */
interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly a: number;
  readonly transposeA?: boolean;
  readonly b: number;
  readonly transposeB?: boolean;
  readonly out: number;
  readonly alpha?: number;
  readonly overwrite: boolean;
}

/** out [m, n] = alpha * A [m, k] B [k, n], cut along the longer side of out. */
function multiply(kernels: Kernels, product: Product): void {
  const { m, n, k, a, b, out, alpha = 1 } = product;
  const { transposeA = false, transposeB = false } = product;
  const [lda, ldb] = [transposeA ? m : k, transposeB ? k : n];
  const flags = [Number(transposeA), Number(transposeB), Number(product.overwrite)];
  const byRows = m >= n;
  const work = m * n * k;
  const ranges = cut(kernels, byRows ? m : n, TILES, work);
  const size = (count: number) => (byRows ? [count, n] : [m, count]);
  runRanges(
    kernels,
    "gemmMultiply",
    ranges,
    work,
    ({ count }) => kernels.exports.gemmScratch(...size(count), k),
    ({ start, count }) => {
      const aAt = a + (byRows ? 4 * start * (transposeA ? 1 : lda) : 0);
      const bAt = b + (byRows ? 0 : 4 * start * (transposeB ? ldb : 1));
      const to = out + 4 * start * (byRows ? n : 1);
      const operands = [aAt, lda, flags[0], bAt, ldb, flags[1], to, n];
      return [...size(count), k, ...operands, alpha, flags[2]];
    },
  );
}

export function bind(kernels: Kernels): Partial<Operations> {
  const { gemmFillRows } = kernels.exports;
  const fewTokens = Number(kernels.exports.GEMM_FEW_TOKENS);
  return {
    gemm(a, b, out, options = {}) {
      const { accumulate = false, ...rest } = options;
      const [m, n] = [rowsOf(out), colsOf(out)];
      const k = options.transposeA ? rowsOf(a) : colsOf(a);
      const operands = { a: address(a), b: address(b), out: address(out) };
      multiply(kernels, { ...rest, m, n, k, ...operands, overwrite: !accumulate });
    },
    linear(x, weight, out, { bias } = {}) {
      const tokens = rowsOf(x);
      const ready = denseWeights(weight);
      if (ready && (ready.format !== 0 || tokens === 1)) {
        denseLinear(kernels, x, ready, out, bias);
        return;
      }
      const [k, n] = [colsOf(x), colsOf(out)];
      const few = tokens <= fewTokens;
      if (bias) gemmFillRows(tokens, n, address(bias), address(out));
      else if (few) gemmFillRows(tokens, n, 0, address(out));
      withFloats(kernels, weight, (weights) => {
        const operands = { a: address(x), b: weights, out: address(out) };
        if (!few) {
          const shape = { m: tokens, n, k, transposeB: true };
          multiply(kernels, { ...shape, ...operands, overwrite: !bias });
          return;
        }
        const { a, b, out: to } = operands;
        const work = tokens * n * k;
        kernels.run(
          "gemmFewTokens",
          cut(kernels, n, TILES, work).map(({ start, count }) => [
            ...[tokens, count, k, a, b + 4 * start * k, to + 4 * start, n],
          ]),
          work,
        );
      });
    },
  };
}
