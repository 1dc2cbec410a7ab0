import type { Operations } from "../../backend.js";
import { rowsOf, type Tensor } from "../../tensor.js";
import { type AttentionOptions, attentionWork } from "../operations/attention.js";
import { address, cut, type Kernels, type Range, runRanges, TILES } from "./kernels.js";

/** From this many queries on it pays to pack keys and values. */
const MANY_QUERIES = 8;

/**
 * Cuts queries into ranges that take equally long: later ones see more keys.
 *
 * @param position of the first query
 * @param seen most keys that one sees
 */
function cutQueries(queries: number, position: number, seen: number, parts: number): Range[] {
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

/** What attends: a kernel for one query after the other, and one for many. */
export interface AttentionKernels {
  readonly few: string;
  readonly many: string;
  /** Bytes of scratch of each; `group` queries share a head of keys, of which one sees at most `seen`. */
  scratch(isMany: boolean, shape: { keys: number; group: number; seen: number }): number;
}

/** What is attended to. */
interface Attended {
  /** Addresses of what is held of keys and values. */
  readonly held: readonly number[];
  /** Positions of them. */
  readonly keys: number;
  /** A kernel's arguments behind the size of a head. @default none */
  readonly more?: readonly number[];
}

/** out = attention of q, cut by queries. */
export function attend(
  kernels: Kernels,
  { few, many, scratch }: AttentionKernels,
  q: Tensor,
  { held, keys, more = [] }: Attended,
  out: Tensor,
  options: AttentionOptions,
): void {
  const { heads, kvHeads, headDim, window, scale = 1 / Math.sqrt(headDim) } = options;
  const queries = rowsOf(q);
  const seen = Math.min(window ?? keys, keys);
  const group = heads / kvHeads;
  const row = 4 * heads * headDim;
  const work = queries * attentionWork(keys, options);
  const isMany = queries >= MANY_QUERIES && headDim % 4 === 0;
  const ranges = cut(kernels, queries, isMany ? TILES : 1, work);
  runRanges(
    kernels,
    isMany ? many : few,
    isMany ? cutQueries(queries, keys - queries, seen, ranges.length) : ranges,
    work,
    () => scratch(isMany, { keys, group, seen }),
    // A range of queries sees no key after the position of its last query.
    ({ start, count }) => [
      ...[address(q) + start * row, ...held, address(out) + start * row],
      ...[count, keys - queries + start + count, kvHeads, group, headDim, ...more, seen],
      scale,
    ],
  );
}

export function bind(kernels: Kernels): Partial<Operations> {
  const { attentionBlocksScratch } = kernels.exports;
  return {
    attention(q, k, v, out, options) {
      const own: AttentionKernels = {
        few: "attention",
        many: "attentionBlocks",
        scratch: (isMany, { keys, group, seen }) =>
          isMany ? attentionBlocksScratch(keys, options.headDim) : 4 * group * seen,
      };
      attend(kernels, own, q, { held: [k, v].map(address), keys: rowsOf(k) }, out, options);
    },
  };
}
