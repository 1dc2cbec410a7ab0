import type { Operations } from "../../backend.js";
import { rowsOf } from "../../tensor.js";
import { attentionWork } from "../operations/attention.js";
import { address, cut, type Kernels, type Range, runRanges, TILES } from "./kernels.js";

/** From this many queries on it pays to pack keys and values. */
export const MANY_QUERIES = 8;

/**
 * Cuts queries into ranges that take equally long: later ones see more keys.
 *
 * @param position of the first query
 * @param seen most keys that one sees
 */
export function cutQueries(
  queries: number,
  position: number,
  seen: number,
  parts: number,
): Range[] {
  /** Keys that all queries before this one see. */
  const seenBefore = (query: number) => {
    const growing = Math.max(0, Math.min(query, seen - position));
    return growing * position + (growing * (growing + 1)) / 2 + (query - growing) * seen;
  };
  const whole = seenBefore(queries);
  const ends: number[] = [];
  let end = 0;
  for (let part = 1; part < parts; part++) {
    while (end < queries && seenBefore(end + TILES / 2) < (whole * part) / parts) end += TILES;
    ends.push(Math.min(end, queries));
  }
  const starts = [0, ...ends];
  return [...ends, queries]
    .map((end, i) => ({ start: starts[i], count: end - starts[i] }))
    .filter(({ count }) => count > 0);
}

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
      const ranges = cut(kernels, queries, inBlocks ? TILES : 1, work);
      runRanges(
        kernels,
        inBlocks ? "attentionBlocks" : "attention",
        inBlocks ? cutQueries(queries, keys - queries, seen, ranges.length) : ranges,
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
