// Attention over keys and values that are held as int8. Each head of a token's values has an f32 scale; so has
// each run of a head's keys, or the whole head. One query at a time is rounded to int16 and multiplied by the
// keys' codes in whole numbers. Values are widened in registers, under weights that hold their scales. For many
// queries the keys and values of a head are widened to floats first.

import { attendBlocks, blockScratch, packedHeadBytes, packKeys, packValues } from "../lib/attention-block";
import { softmaxRow } from "../lib/exp";
import { roundHead, roundQuery, widenHeads } from "../lib/head-codes";
import { mostOfQuery, scoreCodes } from "../lib/rounded-scores";
import { mixCodes } from "../lib/rounded-values";

/** Rows of keys, and of values, that all heads of a group use before the next rows are read. */
const ROWS: i32 = 16;

/** codes [heads, dim] i8, scales [heads] = x [heads, dim]. */
export function roundHeads(x: usize, codes: usize, scales: usize, heads: i32, dim: i32): void {
  for (; heads > 0; heads--) {
    store<f32>(scales, roundHead(x, dim, codes));
    x += <usize>dim << 2;
    codes += <usize>dim;
    scales += 4;
  }
}

/** Bytes of the codes of a group's queries; the scales of these stand behind. */
// @ts-ignore: decorator
@inline
function queryBytes(group: i32, dim: i32): usize {
  return ((<usize>(group * dim) << 1) + 15) & ~15;
}

/** Bytes of scratch for `roundedAttention`. */
export function roundedAttentionScratch(group: i32, headDim: i32, seen: i32): usize {
  return queryBytes(group, headDim) + (<usize>(group + group * seen) << 2);
}

/**
 * As `attention`, with k, v i8, keyScales [keys, kvHeads, runs] and valueScales [keys, kvHeads].
 *
 * @param scratch roundedAttentionScratch(group, headDim, min(window, keys)) bytes
 */
export function roundedAttention(
  q: usize,
  k: usize,
  keyScales: usize,
  v: usize,
  valueScales: usize,
  out: usize,
  queries: i32,
  keys: i32,
  kvHeads: i32,
  some: i32,
  group: i32,
  headDim: i32,
  runs: i32,
  window: i32,
  scale: f32,
  scratch: usize,
): void {
  const row = <usize>headDim << 2;
  const stride = <usize>kvHeads * headDim;
  const step = <usize>kvHeads << 2;
  const run = headDim / runs;
  const most = mostOfQuery(run);
  const ownScales = scratch + queryBytes(group, headDim);
  const scores = ownScales + (<usize>group << 2);
  for (let kvHead = 0; kvHead < some; kvHead++) {
    for (let t = 0; t < queries; t++) {
      const end = keys - queries + t + 1;
      const start = end > window ? end - window : 0;
      const count = end - start;
      const at = <usize>((t * kvHeads + kvHead) * group) * row;
      for (let member = 0; member < group; member++) {
        const to = scratch + (<usize>(member * headDim) << 1);
        const own = roundQuery(q + at + <usize>member * row, headDim, most, to);
        store<f32>(ownScales + (<usize>member << 2), own);
      }
      memory.fill(out + at, 0, <usize>group * row);
      const codesAt = <usize>start * stride + <usize>(kvHead * headDim);
      const scalesAt = <usize>start * step + (<usize>kvHead << 2);
      for (let s = 0; s < count; s += ROWS) {
        const rows = min(ROWS, count - s);
        const codes = k + codesAt + <usize>s * stride;
        const scales = keyScales + (scalesAt + <usize>s * step) * runs;
        for (let member = 0; member < group; member++) {
          const query = scratch + (<usize>(member * headDim) << 1);
          const own = load<f32>(ownScales + (<usize>member << 2));
          const to = scores + (<usize>(member * count + s) << 2);
          memory.fill(to, 0, <usize>rows << 2);
          for (let r = 0; r < runs; r++) {
            const part = <usize>(r * run);
            const factors = scales + (<usize>r << 2);
            scoreCodes(query + 2 * part, codes + part, stride, factors, step * runs, rows, run, own, to);
          }
        }
      }
      for (let member = 0; member < group; member++) {
        const weights = scores + (<usize>(member * count) << 2);
        softmaxRow(weights, weights, count, scale);
        scaleWeights(weights, valueScales + scalesAt, step, count);
      }
      for (let s = 0; s < count; s += ROWS) {
        const rows = min(ROWS, count - s);
        const codes = v + codesAt + <usize>s * stride;
        for (let member = 0; member < group; member++) {
          const weights = scores + (<usize>(member * count + s) << 2);
          mixCodes(weights, codes, stride, rows, headDim, out + at + <usize>member * row);
        }
      }
    }
  }
}

/** weights [count] *= scales [count], which are `step` bytes apart. */
function scaleWeights(weights: usize, scales: usize, step: usize, count: i32): void {
  for (; count > 0; count--) {
    store<f32>(weights, load<f32>(weights) * load<f32>(scales));
    weights += 4;
    scales += step;
  }
}

/** Bytes of scratch for `roundedAttentionBlocks`. */
export function roundedAttentionBlocksScratch(keys: i32, headDim: i32): usize {
  const wide = <usize>(keys * headDim) << 2;
  return packedHeadBytes(keys, headDim) + blockScratch(keys, headDim) + wide;
}

/**
 * What `roundedAttention` computes but for the rounding of queries, for many of them and heads whose size is a
 * multiple of 4.
 *
 * @param scratch roundedAttentionBlocksScratch(keys, headDim) bytes
 */
export function roundedAttentionBlocks(
  q: usize,
  k: usize,
  keyScales: usize,
  v: usize,
  valueScales: usize,
  out: usize,
  queries: i32,
  keys: i32,
  kvHeads: i32,
  group: i32,
  headDim: i32,
  runs: i32,
  window: i32,
  scale: f32,
  scratch: usize,
): void {
  const row = <usize>headDim << 2;
  const stride = <usize>kvHeads * headDim;
  const scaleStep = <usize>kvHeads << 2;
  const step = <usize>(kvHeads * group) * row;
  // Sums are taken of groups of four keys, wherever a range of queries starts.
  const skip = max(0, keys - queries + 1 - window) & ~3;
  const count = keys - skip;
  const work = scratch + packedHeadBytes(count, headDim);
  const wide = work + blockScratch(count, headDim);
  for (let head = 0; head < kvHeads * group; head++) {
    if (head % group == 0) {
      const kvHead = head / group;
      const codesAt = <usize>skip * stride + <usize>(kvHead * headDim);
      const scalesAt = <usize>skip * scaleStep + (<usize>kvHead << 2);
      const ownScales = keyScales + scalesAt * runs;
      widenHeads(k + codesAt, ownScales, stride, scaleStep * runs, count, runs, headDim / runs, wide);
      packKeys(wide, row, count, headDim, scratch);
      widenHeads(v + codesAt, valueScales + scalesAt, stride, scaleStep, count, 1, headDim, wide);
      packValues(wide, row, count, headDim, scratch);
    }
    const own = <usize>head * row;
    attendBlocks(q + own, step, scratch, out + own, queries, count, headDim, window, scale, work);
  }
}
