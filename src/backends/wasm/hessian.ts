import type { Operations } from "../../backend.js";
import { pacer } from "../../run.js";
import { colsOf, rowsOf } from "../../tensor.js";
import {
  address,
  cut,
  equalRanges,
  type Kernels,
  runRanges,
  TILES,
  turns,
  withScratch,
} from "./kernels.js";

/** Rows of `quadraticForm` whose terms are added up together, however many threads there are. */
const PANEL = 48;

export function bind(kernels: Kernels): Partial<Operations> {
  const { exports, storage } = kernels;
  return {
    accumulateHessian(x, hessian, scale) {
      const [tokens, n] = [rowsOf(x), colsOf(x)];
      const work = (tokens * n * n) / 2;
      const operands = [tokens, n, address(x), address(hessian), scale];
      runRanges(
        kernels,
        "hessianColumns",
        cut(kernels, n, TILES, work),
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
      const bytes = exports.hessianPackBytes(n);
      const packed = storage.reserve(bytes);
      let sum = 0;
      try {
        exports.hessianPack(n, address(h), packed);
        for (const turn of turns(rows, kernels.threads * PANEL, n * n)) {
          const sums = runRanges(
            kernels,
            "hessianQuadraticForm",
            equalRanges(turn.count, PANEL),
            turn.count * n * n,
            ({ count }) => exports.hessianQuadraticScratch(count, n),
            ({ start, count }) => {
              const row = address(d) + 4 * (turn.start + start) * n;
              return [count, n, row, packed];
            },
          );
          for (const part of sums) sum += part;
          await breathe();
        }
      } finally {
        storage.free(packed, bytes);
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
