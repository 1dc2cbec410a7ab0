import type { Operations } from "../../backend.js";
import { rowsOf } from "../../tensor.js";
import { attentionWork } from "../operations/attention.js";
import { cutQueries, MANY_QUERIES } from "./attention.js";
import { address, cut, type Kernels, runRanges, TILES } from "./kernels.js";

export function bind(kernels: Kernels): Partial<Operations> {
  const { exports } = kernels;
  return {
    roundHeads(x, codes, scales) {
      if (scales.size === 0) return;
      const addresses = [x, codes, scales].map(address);
      kernels.run("roundHeads", [[...addresses, scales.size, x.size / scales.size]], x.size);
    },
    roundedAttention(q, k, keyScales, v, valueScales, out, options) {
      const { heads, kvHeads, headDim, window, scale = 1 / Math.sqrt(headDim) } = options;
      const [queries, keys] = [rowsOf(q), rowsOf(k)];
      const seen = Math.min(window ?? keys, keys);
      const group = heads / kvHeads;
      const row = 4 * heads * headDim;
      const work = queries * attentionWork(keys, options);
      const inBlocks = queries >= MANY_QUERIES && headDim % 4 === 0;
      const ranges = cut(kernels, queries, inBlocks ? TILES : 1, work);
      const held = [k, keyScales, v, valueScales].map(address);
      runRanges(
        kernels,
        inBlocks ? "roundedAttentionBlocks" : "roundedAttention",
        inBlocks ? cutQueries(queries, keys - queries, seen, ranges.length) : ranges,
        work,
        () =>
          inBlocks
            ? exports.roundedAttentionBlocksScratch(keys, headDim)
            : exports.roundedAttentionScratch(group, headDim, seen),
        // A range of queries sees no key after the position of its last query.
        ({ start, count }) => [
          ...[address(q) + start * row, ...held, address(out) + start * row],
          ...[count, keys - queries + start + count, kvHeads, group, headDim, seen],
          scale,
        ],
      );
    },
  };
}
