import type { Operations } from "../../backend.js";
import { pacer } from "../../run.js";
import { colsOf, rowsOf } from "../../tensor.js";
import {
  address,
  cut,
  equalRanges,
  type Kernels,
  runRanges,
  turns,
  withScratch,
} from "./kernels.js";

/** Columns of a Hessian that stay together: what the kernel asks for. */
const GRAIN = 24;
/**
 * Rows of `quadraticForm` whose terms are added up together, however many threads there are: many, as the
 * Hessian is packed anew for each panel, but no more than take some 30 ms, so that a cancellation is seen.
 */
function panelRows(n: number): number {
  return Math.min(256, Math.max(96, Math.floor(8e8 / (n * n * 24)) * 24));
}

export function bind(kernels: Kernels): Partial<Operations> {
  const { exports } = kernels;
  return {
    accumulateHessian(x, hessian, scale) {
      const [tokens, n] = [rowsOf(x), colsOf(x)];
      const work = (tokens * n * n) / 2;
      const operands = [tokens, n, address(x), address(hessian), scale];
      runRanges(
        kernels,
        "hessianColumns",
        cut(kernels, n, GRAIN, work),
        work,
        () => exports.hessianScratch(n, tokens),
        ({ start, count }) => [...operands, start, start + count],
      );
    },
    mirrorUpper(a) {
      exports.hessianMirror(colsOf(a), address(a));
    },
    accumulateColumnSquares(x, sums) {
      const [tokens, n] = [rowsOf(x), colsOf(x)];
      withScratch(kernels, n * Float64Array.BYTES_PER_ELEMENT, (scratch) => {
        exports.hessianColumnSquares(tokens, n, address(x), address(sums), scratch);
      });
    },
    async quadraticForm(d, h, { signal } = {}) {
      const [rows, n] = [rowsOf(d), colsOf(d)];
      const breathe = pacer(signal);
      let sum = 0;
      const panel = panelRows(n);
      for (const turn of turns(rows, kernels.threads * panel, n * n)) {
        const sums = runRanges(
          kernels,
          "hessianQuadraticForm",
          equalRanges(turn.count, panel),
          turn.count * n * n,
          ({ count }) => exports.hessianQuadraticScratch(count, n),
          ({ start, count }) => [
            ...[count, n, address(d) + 4 * (turn.start + start) * n, address(h)],
          ],
        );
        for (const part of sums) sum += part;
        await breathe();
      }
      return sum;
    },
    async sumOfSquares(x) {
      return exports.hessianSumOfSquares(x.size, address(x));
    },
    async countNonFinite(x) {
      return exports.hessianCountNonFinite(x.size, address(x));
    },
  };
}
