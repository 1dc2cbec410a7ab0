import type { Operations } from "../../backend.js";
import { rowsOf } from "../../tensor.js";
import { address, cut, type Kernels, runRanges } from "./kernels.js";

export function bind(kernels: Kernels): Partial<Operations> {
  return {
    attention(q, k, v, out, { heads, kvHeads, headDim, window }) {
      const [queries, keys] = [rowsOf(q), rowsOf(k)];
      const seen = Math.min(window ?? keys, keys);
      const group = heads / kvHeads;
      const row = 4 * heads * headDim;
      const work = queries * seen * heads * headDim;
      runRanges(
        kernels,
        "attention",
        cut(kernels, queries, 1, work),
        work,
        () => 4 * group * seen,
        // Some of the queries see the keys up to the last one's own.
        ({ start, count }) => [
          ...[address(q) + start * row, address(k), address(v), address(out) + start * row],
          ...[count, keys - queries + start + count, kvHeads, group, headDim, seen],
          ...[1 / Math.sqrt(headDim)],
        ],
      );
    },
  };
}
