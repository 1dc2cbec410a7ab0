import type { Operations } from "../../backend.js";
import { rowsOf, type Tensor } from "../../tensor.js";
import { type AttentionOptions, attentionWork } from "../operations/attention.js";
import { address, cut, type Kernels, queueRanges, type Range, TILES } from "./kernels.js";

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
  /** Of what is held of keys and values: where it starts, and the bytes of a head of one position. */
  readonly held: readonly (readonly [at: number, head: number])[];
  /** Positions of them. */
  readonly keys: number;
  /** A kernel's arguments behind the size of a head. @default none */
  readonly more?: readonly number[];
}

/** out = attention of q, cut by queries, or by heads where there are few of them. */
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
  const work = queries * attentionWork(keys, options);
  const isMany = queries >= MANY_QUERIES && headDim % 4 === 0;
  const byHeads = !isMany && queries < kvHeads;
  const ranges = cut(kernels, byHeads ? kvHeads : queries, isMany ? TILES : 1, work);
  const every = { start: 0, count: byHeads ? queries : kvHeads };
  queueRanges(
    kernels,
    isMany ? many : few,
    isMany ? cutQueries(queries, keys - queries, seen, ranges.length) : ranges,
    work,
    () => scratch(isMany, { keys, group, seen }),
    (range) => {
      const [some, of] = byHeads ? [every, range] : [range, every];
      const from = 4 * headDim * (some.start * heads + of.start * group);
      return [
        ...[address(q) + from, ...held.map(([at, head]) => at + of.start * head)],
        ...[address(out) + from, some.count],
        // A range of queries sees no key after the position of its last query.
        ...[keys - queries + some.start + some.count, kvHeads, ...(isMany ? [] : [of.count])],
        ...[group, headDim, ...more, seen, scale],
      ];
    },
  );
}

export function bind(kernels: Kernels): Partial<Operations> {
  const { attentionBlocksScratch } = kernels.sizes;
  return {
    attention(q, k, v, out, options) {
      const own: AttentionKernels = {
        few: "attention",
        many: "attentionBlocks",
        scratch: (isMany, { keys, group, seen }) =>
          isMany ? attentionBlocksScratch(keys, options.headDim) : 4 * group * seen,
      };
      const head = 4 * options.headDim;
      const held = [k, v].map((tensor) => [address(tensor), head] as const);
      attend(kernels, own, q, { held, keys: rowsOf(k) }, out, options);
    },
  };
}
