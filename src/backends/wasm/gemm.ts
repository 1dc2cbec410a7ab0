import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { denseLinear, denseWeights } from "./dense.js";
import { address, cut, type Kernels, TILES, withFloats } from "./kernels.js";
import { IN_COLUMNS, IN_ROWS, multiply } from "./product.js";

export function bind(kernels: Kernels): Partial<Operations> {
  const { gemmFillRows } = kernels.exports;
  const fewTokens = Number(kernels.exports.GEMM_FEW_TOKENS);
  return {
    gemm(a, b, out, options = {}) {
      const { transposeA = false, transposeB = false, accumulate = false, alpha } = options;
      const [m, n] = [rowsOf(out), colsOf(out)];
      const layouts = [transposeA ? IN_COLUMNS : IN_ROWS, transposeB ? IN_ROWS : IN_COLUMNS];
      multiply(kernels, {
        ...{ m, n, k: transposeA ? rowsOf(a) : colsOf(a) },
        a: { at: address(a), ld: colsOf(a), layout: layouts[0] },
        b: { at: address(b), ld: colsOf(b), layout: layouts[1] },
        ...{ out: address(out), ldo: n, alpha, overwrite: !accumulate },
      });
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
        const [a, to] = [address(x), address(out)];
        if (!few) {
          const operands = [a, weights].map((at) => ({ at, ld: k, layout: IN_ROWS }));
          const shape = { m: tokens, n, k, a: operands[0], b: operands[1] };
          multiply(kernels, { ...shape, out: to, ldo: n, overwrite: !bias });
          return;
        }
        const work = tokens * n * k;
        kernels.run(
          "gemmFewTokens",
          cut(kernels, n, TILES, work).map(({ start, count }) => [
            ...[tokens, count, k, a, weights + 4 * start * k, to + 4 * start, n],
          ]),
          work,
        );
      });
    },
  };
}
