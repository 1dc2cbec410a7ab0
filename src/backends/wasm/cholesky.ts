import type { Operations } from "../../backend.js";
import { pacer } from "../../run.js";
import { colsOf } from "../../tensor.js";
import { address, cut, equalRanges, type Kernels, runRanges, TILES } from "./kernels.js";

/** Blocks of columns of the inverse that are computed together, from so many columns on. */
const BLOCKS = 2;
const MANY_COLUMNS = 1024;

export function bind(kernels: Kernels): Partial<Operations> {
  const { exports, storage } = kernels;
  const [strip, block, blockBytes] = [
    exports.CHOLESKY_STRIP,
    exports.CHOLESKY_BLOCK,
    exports.CHOLESKY_BLOCK_BYTES,
  ].map(Number);

  /** Rows [next, n) of the columns of the factor that begin at p. */
  const panel = (n: number, a: number, p: number, inverse: number, next: number) => {
    const work = (n - next) * block * block;
    runRanges(
      kernels,
      "choleskyPanel",
      cut(kernels, n - next, TILES, work),
      work,
      () => exports.choleskyScratch(n),
      ({ start, count }) => [n, a, p, inverse, next + start, next + start + count],
    );
  };

  /** Columns [to, last) of all rows from `to` on lose the product of columns [from, to). */
  const update = (n: number, a: number, from: number, to: number, last: number) => {
    const work = ((n - to) * (last - to) * (to - from)) / (last === n ? 2 : 1);
    runRanges(
      kernels,
      "choleskyUpdate",
      cut(kernels, n - to, TILES, work),
      work,
      () => exports.choleskyScratch(n),
      ({ start, count }) => [n, a, from, to, to, last, to + start, to + start + count],
    );
  };

  return {
    async cholesky(tensor, { signal } = {}) {
      const [n, a] = [colsOf(tensor), address(tensor)];
      const breathe = pacer(signal);
      const inverse = storage.reserve(blockBytes);
      try {
        for (let k = 0; k < n; k += strip) {
          const end = Math.min(n, k + strip);
          for (let p = k; p < end; p += block) {
            const failed = exports.choleskyPivot(n, a, p, inverse);
            if (failed >= 0) return failed;
            const next = Math.min(n, p + block);
            panel(n, a, p, inverse, next);
            update(n, a, p, next, end);
          }
          update(n, a, k, end, n);
          await breathe();
        }
      } finally {
        storage.free(inverse, blockBytes);
      }
      exports.choleskyClear(n, a);
      return -1;
    },
    async triangularInverse(l, out, { signal } = {}) {
      const n = colsOf(l);
      const breathe = pacer(signal);
      const operands = [n, address(l), address(out)];
      const scratch = () => exports.choleskyInverseScratch(n);
      const step = (name: string, ranges: ReturnType<typeof equalRanges>, work: number) =>
        runRanges(kernels, name, ranges, work, scratch, ({ start, count }) => [
          ...[...operands, start, start + count],
        ]);
      step("choleskyInverseDiagonals", equalRanges(n, 4 * block), (n * block * block) / 6);
      // The first columns are the longest; those at the end of the list are taken first.
      const columns = equalRanges(n, n < MANY_COLUMNS ? block : BLOCKS * block).reverse();
      const together = kernels.threads === 1 ? 1 : 3 * kernels.threads;
      while (columns.length > 0) {
        const ranges = columns.splice(-together);
        const work = ranges.reduce(
          (sum, { start, count }) => sum + ((n - start) ** 2 * count) / 2,
          0,
        );
        step("choleskyInverseColumns", ranges, work);
        await breathe();
      }
    },
    reverse(a) {
      exports.choleskyReverse(a.size, address(a));
    },
  };
}
