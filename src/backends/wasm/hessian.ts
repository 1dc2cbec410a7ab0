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
import { IN_COLUMNS, IN_ROWS, pack, withPacked } from "./product.js";

/** `quadraticForm` adds up the terms of this many rows together, whatever the number of threads. */
const PANEL = 48;

/** Of the columns of H that `quadraticForm` packs together: beside them H itself may be most of memory. */
const COLUMNS_BYTES = 2 ** 25;

export function bind(kernels: Kernels): Partial<Operations> {
  const { exports, storage } = kernels;
  return {
    accumulateHessian(x, hessian, scale) {
      const [tokens, n] = [rowsOf(x), colsOf(x)];
      const blocks = equalRanges(tokens, exports.gemmBlockDepth(tokens));
      for (const { start: token, count: depth } of blocks) {
        const work = (depth * n * n) / 2;
        const block = { at: address(x) + 4 * token * n, ld: n, layout: IN_COLUMNS };
        withPacked(kernels, block, { side: "a", lines: n, k: depth, scale }, (panels) =>
          runRanges(
            kernels,
            "hessianColumns",
            cut(kernels, n, TILES, work),
            work,
            () => exports.hessianScratch(n, depth),
            ({ start, count }) => [
              ...[depth, n, block.at, panels, address(hessian), start, start + count],
            ],
          ),
        );
      }
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
      const columns = Math.max(TILES, TILES * Math.floor(COLUMNS_BYTES / (4 * n * TILES)));
      const bytes = exports.gemmPackedBytes(Math.min(n, columns), n);
      const packed = storage.reserve(bytes);
      let sum = 0;
      try {
        for (const panel of equalRanges(n, columns)) {
          // H is symmetric: these of its rows are its columns.
          const lines = { at: address(h) + 4 * panel.start * n, ld: n, layout: IN_ROWS };
          pack(kernels, lines, { side: "b", lines: panel.count, k: n }, packed);
          for (const turn of turns(rows, kernels.threads * PANEL, panel.count * n)) {
            const sums = runRanges(
              kernels,
              "hessianQuadraticForm",
              equalRanges(turn.count, PANEL),
              turn.count * panel.count * n,
              ({ count }) => exports.hessianQuadraticScratch(count, n, panel.count),
              ({ start, count }) => {
                const row = address(d) + 4 * (turn.start + start) * n;
                return [count, n, row, panel.start, panel.count, packed];
              },
            );
            for (const part of sums) sum += part;
            await breathe();
          }
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
