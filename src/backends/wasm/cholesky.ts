import type { Operations } from "../../backend.js";
import { pacer } from "../../run.js";
import { colsOf } from "../../tensor.js";
import {
  address,
  cut,
  equalRanges,
  type Kernels,
  type Range,
  runRanges,
  TILES,
  withScratch,
} from "./kernels.js";
import { IN_ROWS, withPacked } from "./product.js";

/** From MANY_COLUMNS columns on, this many blocks of columns of the inverse are computed together. */
const BLOCKS = 2;
const MANY_COLUMNS = 1024;

/** Widths in blocks of columns: of a strip, which fits one block of k, and of a block. */
const STRIPS = [3, 1];

/** Columns [from, to) of a factor: a block to be factored, or a strip whose blocks all are. */
export interface Strip {
  readonly from: number;
  readonly to: number;
  /** End of the strip around it: the product of [from, to) is then taken off columns [to, last). */
  readonly last: number;
  /** How many strips are around it. */
  readonly level: number;
  readonly isBlock: boolean;
}

/** Columns [from, to) of a factor, in the order of its steps; `block` is the width of a block. */
export function* stripsOf(from: number, to: number, block: number, level = 0): Generator<Strip> {
  const width = STRIPS[level] * block;
  const isBlock = level === STRIPS.length - 1;
  for (let start = from; start < to; start += width) {
    const end = Math.min(to, start + width);
    if (!isBlock) yield* stripsOf(start, end, block, level + 1);
    yield { from: start, to: end, last: to, level, isBlock };
  }
}

export function bind(kernels: Kernels): Partial<Operations> {
  const { exports, storage } = kernels;
  const [block, blockBytes] = [exports.CHOLESKY_BLOCK, exports.CHOLESKY_BLOCK_BYTES].map(Number);

  /** Rows [next, n) of the columns of the factor that begin at p. */
  const panel = (n: number, a: number, p: number, inverse: number, next: number) => {
    const work = (n - next) * block * block;
    runRanges(
      kernels,
      "choleskyPanel",
      cut(kernels, n - next, TILES, work),
      work,
      ({ count }) => exports.choleskyPanelScratch(count),
      ({ start, count }) => [n, a, p, inverse, next + start, next + start + count],
    );
  };

  /** Takes the product of columns [from, to) off columns [to, last) of all rows from `to` on. */
  const update = (n: number, a: number, from: number, to: number, last: number) => {
    const [lines, k] = [last - to, to - from];
    if (lines === 0) return;
    const work = ((n - to) * lines * k) / (last === n ? 2 : 1);
    const rows = { at: a + 4 * (to * n + from), ld: n, layout: IN_ROWS };
    withPacked(kernels, rows, { side: "b", lines, k }, (panels) =>
      runRanges(
        kernels,
        "choleskyUpdate",
        cut(kernels, n - to, TILES, work),
        work,
        ({ count }) => exports.choleskyUpdateScratch(count, k),
        ({ start, count }) => [n, a, from, to, to, last, to + start, to + start + count, panels],
      ),
    );
  };

  /**
   * Has columns of an inverse computed outside of it, and then put where they belong: until then other
   * columns are computed of what stands there.
   */
  const apart = (
    n: number,
    out: number,
    ranges: readonly Range[],
    compute: (columns: (range: Range) => readonly [to: number, ld: number]) => void,
  ) => {
    const places = new Map<Range, number>();
    let bytes = 0;
    for (const range of ranges) {
      places.set(range, bytes);
      bytes += 4 * (n - range.start) * range.count;
    }
    withScratch(kernels, bytes, (at) => {
      compute((range) => [at + places.get(range)!, range.count]);
      for (const [{ start, count }, place] of places) {
        exports.choleskyInversePlace(n, at + place, out, start, start + count);
      }
    });
  };

  return {
    async cholesky(tensor, { signal } = {}) {
      const [n, a] = [colsOf(tensor), address(tensor)];
      const breathe = pacer(signal);
      const inverse = storage.reserve(blockBytes);
      try {
        for (const { from, to, last, isBlock } of stripsOf(0, n, block)) {
          if (isBlock) {
            const failed = exports.choleskyPivot(n, a, from, inverse);
            if (failed >= 0) return failed;
            panel(n, a, from, inverse, to);
          }
          update(n, a, from, to, last);
          if (!isBlock) await breathe();
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
      const [from, to] = [address(l), address(out)];
      const scratch = () => exports.choleskyInverseScratch(n);
      runRanges(
        kernels,
        "choleskyInverseDiagonals",
        equalRanges(n, 4 * block),
        (n * block * block) / 6,
        scratch,
        ({ start, count }) => [n, from, to, start, start + count],
      );
      // The first columns are the longest and start first: work is taken from the end of the list.
      const columns = equalRanges(n, n < MANY_COLUMNS ? block : BLOCKS * block).reverse();
      const together = kernels.threads === 1 ? 1 : 3 * kernels.threads;
      while (columns.length > 0) {
        const ranges = columns.splice(-together);
        const work = ranges.reduce(
          (sum, { start, count }) => sum + ((n - start) ** 2 * count) / 2,
          0,
        );
        const compute = (columns: (range: Range) => readonly [to: number, ld: number]) =>
          runRanges(kernels, "choleskyInverseColumns", ranges, work, scratch, (range) => [
            ...[n, from, to, ...columns(range), range.start, range.start + range.count],
          ]);
        if (from === to) apart(n, to, ranges, compute);
        else compute(({ start }) => [to + 4 * (start * n + start), n]);
        await breathe();
      }
    },
    reverse(a) {
      exports.choleskyReverse(a.size, address(a));
    },
  };
}
