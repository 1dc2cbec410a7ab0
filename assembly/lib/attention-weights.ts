// Softmax down a panel of scores, four queries in the lanes of each row. Each query sees the keys of a range
// of its own; the ranges of neighbours end one key apart.

import { expNegative } from "./exp";

/** Keys whose terms are added apart: those of a query's sum, by their number modulo this. */
const GROUP: i32 = 4;

const LANES: usize = memory.data<i32>([0, 1, 2, 3]);

/**
 * x [count, 4] = exp(x - the query's largest) where a query sees the key, and 0 elsewhere. Query i stands at
 * key `position` + i and sees the last `window` keys up to it, none from `count` on. Its sum is taken of
 * groups of four keys, and last of the keys that fill no group: it does not depend on the queries beside it.
 * Up to GROUP - 1 rows from `count` on are overwritten.
 *
 * @param step bytes between rows of x
 * @param inverse [4], where 1 / their sums go
 */
export function weighColumns(
  x: usize,
  step: usize,
  count: i32,
  position: i32,
  window: i32,
  inverse: usize,
): void {
  const last = i32x4.splat(count);
  const after = i32x4.add(i32x4.splat(position + 1), v128.load(LANES));
  const ends = i32x4.min_s(after, last);
  const starts = i32x4.max_s(i32x4.sub(ends, i32x4.splat(window)), i32x4.splat(0));
  const lowest = i32x4.extract_lane(starts, 0) & -GROUP;
  const highest = (i32x4.extract_lane(ends, 3) + GROUP - 1) & -GROUP;
  // Every query sees all keys in between.
  const inner = min(highest, (i32x4.extract_lane(starts, 3) + GROUP - 1) & -GROUP);
  const outer = max(inner, i32x4.extract_lane(ends, 0) & -GROUP);

  let most = f32x4.splat(-Infinity);
  most = largestSeen(x, step, lowest, inner, starts, ends, most);
  for (let at = x + <usize>inner * step, end = x + <usize>outer * step; at != end; at += step) {
    most = f32x4.pmax(most, v128.load(at));
  }
  most = largestSeen(x, step, outer, highest, starts, ends, most);

  const zero = f32x4.splat(0);
  for (let at = x, end = x + <usize>lowest * step; at != end; at += step) v128.store(at, zero);
  let s0 = zero;
  let s1 = zero;
  let s2 = zero;
  let s3 = zero;
  for (let s = lowest; s < inner; s += GROUP) {
    const at = x + <usize>s * step;
    s0 = f32x4.add(s0, seenTerm(at, s, starts, ends, most));
    s1 = f32x4.add(s1, seenTerm(at + step, s + 1, starts, ends, most));
    s2 = f32x4.add(s2, seenTerm(at + 2 * step, s + 2, starts, ends, most));
    s3 = f32x4.add(s3, seenTerm(at + 3 * step, s + 3, starts, ends, most));
  }
  for (let at = x + <usize>inner * step, end = x + <usize>outer * step; at != end; at += GROUP * step) {
    s0 = f32x4.add(s0, term(at, most));
    s1 = f32x4.add(s1, term(at + step, most));
    s2 = f32x4.add(s2, term(at + 2 * step, most));
    s3 = f32x4.add(s3, term(at + 3 * step, most));
  }
  let t0 = zero;
  let t1 = zero;
  let t2 = zero;
  for (let s = outer; s < highest; s += GROUP) {
    const at = x + <usize>s * step;
    const isWhole = i32x4.ge_s(ends, i32x4.splat(s + GROUP));
    const a = seenTerm(at, s, starts, ends, most);
    const b = seenTerm(at + step, s + 1, starts, ends, most);
    const c = seenTerm(at + 2 * step, s + 2, starts, ends, most);
    const d = seenTerm(at + 3 * step, s + 3, starts, ends, most);
    s0 = f32x4.add(s0, v128.and(a, isWhole));
    s1 = f32x4.add(s1, v128.and(b, isWhole));
    s2 = f32x4.add(s2, v128.and(c, isWhole));
    s3 = f32x4.add(s3, v128.and(d, isWhole));
    t0 = f32x4.add(t0, v128.andnot(a, isWhole));
    t1 = f32x4.add(t1, v128.andnot(b, isWhole));
    t2 = f32x4.add(t2, v128.andnot(c, isWhole));
  }
  for (let s = highest; s < count; s++) v128.store(x + <usize>s * step, zero);
  let sum = f32x4.add(f32x4.add(s0, s2), f32x4.add(s1, s3));
  sum = f32x4.add(f32x4.add(f32x4.add(sum, t0), t1), t2);
  v128.store(inverse, f32x4.div(f32x4.splat(1), sum));
}

/** Lanes whose query sees the key. */
// @ts-ignore: decorator
@inline
function seen(key: i32, starts: v128, ends: v128): v128 {
  const keys = i32x4.splat(key);
  return v128.and(i32x4.ge_s(keys, starts), i32x4.lt_s(keys, ends));
}

/** The larger of `most` and what each query sees of the keys [from, to). */
function largestSeen(
  x: usize,
  step: usize,
  from: i32,
  to: i32,
  starts: v128,
  ends: v128,
  most: v128,
): v128 {
  for (let s = from; s < to; s++) {
    const score = v128.load(x + <usize>s * step);
    most = v128.bitselect(f32x4.pmax(most, score), most, seen(s, starts, ends));
  }
  return most;
}

/** exp of a row of scores, put in their place. */
// @ts-ignore: decorator
@inline
function term(at: usize, most: v128): v128 {
  const terms = expNegative(f32x4.sub(v128.load(at), most));
  v128.store(at, terms);
  return terms;
}

/** The same, and 0 where a query does not see the key. */
function seenTerm(at: usize, key: i32, starts: v128, ends: v128, most: v128): v128 {
  const terms = v128.and(term(at, most), seen(key, starts, ends));
  v128.store(at, terms);
  return terms;
}
