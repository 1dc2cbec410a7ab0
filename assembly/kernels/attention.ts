// Causal grouped-query attention, one query at a time for the heads that share keys and values:
// scores against four keys at once, softmax, then the weighted sum of values with 32 outputs in
// registers. Keys and values are read in place, a row every `stride` bytes. Such strides make them
// share few places of a cache; so all heads of a group use a few rows before the next are touched.

import { attendBlocks, blockScratch, packedHeadBytes, packHead } from "../lib/attention-block";
import { scoreFew, scoreFour } from "../lib/attention-scores";
import { mixValues } from "../lib/attention-values";
import { softmaxRow } from "../lib/exp";

/** Rows of values that all heads of a group add before the next rows are read. */
const VALUE_ROWS: i32 = 16;

/**
 * q, out [queries, kvHeads * group, headDim]; k, v [keys, kvHeads, headDim], keys >= queries; query
 * t stands at position keys - queries + t and sees the last `window` positions up to its own. Only
 * the first `some` of kvHeads are attended to.
 *
 * @param scale factor on scores
 * @param scores scratch of group * min(window, keys) floats
 */
export function attention(
  q: usize,
  k: usize,
  v: usize,
  out: usize,
  queries: i32,
  keys: i32,
  kvHeads: i32,
  some: i32,
  group: i32,
  headDim: i32,
  window: i32,
  scale: f32,
  scores: usize,
): void {
  const row = <usize>headDim << 2;
  const stride = <usize>kvHeads * row;
  for (let kvHead = 0; kvHead < some; kvHead++) {
    const shared = <usize>kvHead * row;
    for (let t = 0; t < queries; t++) {
      const end = keys - queries + t + 1;
      const start = end > window ? end - window : 0;
      const skip = <usize>start * stride + shared;
      const at = <usize>((t * kvHeads + kvHead) * group) * row;
      attendGroup(q + at, k + skip, v + skip, out + at, stride, end - start, group, headDim, scale, scores);
    }
  }
}

/** Bytes of scratch for `attentionBlocks`. */
export function attentionBlocksScratch(keys: i32, headDim: i32): usize {
  return packedHeadBytes(keys, headDim) + blockScratch(keys, headDim);
}

/**
 * What `attention` computes, for many queries and heads whose size is a multiple of 4. Which bits a
 * query's result has does not depend on the queries beside it.
 *
 * @param scratch attentionBlocksScratch(keys, headDim) bytes
 */
export function attentionBlocks(
  q: usize,
  k: usize,
  v: usize,
  out: usize,
  queries: i32,
  keys: i32,
  kvHeads: i32,
  group: i32,
  headDim: i32,
  window: i32,
  scale: f32,
  scratch: usize,
): void {
  const row = <usize>headDim << 2;
  const stride = <usize>kvHeads * row;
  const step = <usize>group * stride;
  // Sums are taken of groups of four keys, wherever a range of queries starts.
  const skip = max(0, keys - queries + 1 - window) & ~3;
  const count = keys - skip;
  const work = scratch + packedHeadBytes(count, headDim);
  for (let head = 0; head < kvHeads * group; head++) {
    if (head % group == 0) {
      const shared = <usize>skip * stride + <usize>(head / group) * row;
      packHead(k + shared, v + shared, stride, count, headDim, scratch);
    }
    const own = <usize>head * row;
    attendBlocks(q + own, step, scratch, out + own, queries, count, headDim, window, scale, work);
  }
}

/** One query of `group` heads over `count` keys. */
function attendGroup(
  q: usize,
  k: usize,
  v: usize,
  out: usize,
  stride: usize,
  count: i32,
  group: i32,
  dim: i32,
  scale: f32,
  scores: usize,
): void {
  const row = <usize>dim << 2;
  const step = <usize>count << 2;
  for (let s = 0; s < count; s += 4) {
    const keys = k + <usize>s * stride;
    for (let member = 0; member < group; member++) {
      const to = scores + <usize>member * step + (<usize>s << 2);
      const query = q + <usize>member * row;
      if (s + 4 <= count) scoreFour(query, keys, stride, dim, to);
      else scoreFew(query, keys, stride, count - s, dim, to);
    }
  }
  for (let member = 0; member < group; member++) {
    const weights = scores + <usize>member * step;
    softmaxRow(weights, weights, count, scale);
  }
  for (let s = 0; s < count; s += VALUE_ROWS) {
    const rows = min(VALUE_ROWS, count - s);
    const values = v + <usize>s * stride;
    for (let member = 0; member < group; member++) {
      const weights = scores + <usize>member * step + (<usize>s << 2);
      mixValues(weights, values, stride, rows, dim, out + <usize>member * row, s == 0);
    }
  }
}
