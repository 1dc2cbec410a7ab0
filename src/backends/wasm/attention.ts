import type { Operations } from "../../backend.js";
import { rowsOf } from "../../tensor.js";
import { attentionWork } from "../operations/attention.js";
import { address, cut, type Kernels, runRanges } from "./kernels.js";

/** From this many queries on it pays to transpose the keys. */
const MANY_QUERIES = 8;

export function bind(kernels: Kernels): Partial<Operations> {
  const { attentionBlocksScratch } = kernels.exports;
  return {
    attention(q, k, v, out, options) {
      const { heads, kvHeads, headDim, window, scale = 1 / Math.sqrt(headDim) } = options;
      const [queries, keys] = [rowsOf(q), rowsOf(k)];
      const seen = Math.min(window ?? keys, keys);
      const group = heads / kvHeads;
      const row = 4 * heads * headDim;
      const work = queries * attentionWork(keys, options);
      const inBlocks = queries >= MANY_QUERIES && headDim % 4 === 0;
      runRanges(
        kernels,
        inBlocks ? "attentionBlocks" : "attention",
        cut(kernels, queries, inBlocks ? 4 : 1, work),
        work,
        () => (inBlocks ? attentionBlocksScratch(keys, headDim) : 4 * group * seen),
        // A range of queries sees no key after the position of its last query.
        ({ start, count }) => [
          ...[address(q) + start * row, address(k), address(v), address(out) + start * row],
          ...[count, keys - queries + start + count, kvHeads, group, headDim, seen],
          scale,
        ],
      );
    },
  };
}
