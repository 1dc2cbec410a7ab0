// The two passes over one row that the loss by removed importance takes; see kernels/removed.ts.
// `factors` (f32) and `byFactor` (f64) are padded to a multiple of 4, `marks` to whole strips.

import { markSmallest, panelToStrip, stripToPanel } from "./groups";
import { addDoubles, highDoubles, loadUpTo, lowDoubles, storeUpTo, sumDoubles } from "./lanes";

/** Bytes of the marks of a row. */
export function rowMarkBytes(cols: i32, m: i32): usize {
  const strip = m << 2;
  return <usize>((cols + strip - 1) / strip) * (<usize>strip << 2);
}

/**
 * Marks what a row loses, and stores its total and lost importance as two f64 at `sums`.
 *
 * @param work 32 m bytes
 */
export function markRow(
  cols: i32,
  w: usize,
  factors: usize,
  m: i32,
  drop: i32,
  marks: usize,
  sums: usize,
  work: usize,
): void {
  const bytes = <usize>m << 4;
  const panel = work;
  const turned = work + bytes;
  let total = f64x2.splat(0);
  let lost = f64x2.splat(0);
  while (cols > 0) {
    // The importances wait where the strip's marks go.
    for (let at: usize = 0; at < bytes; at += 16) {
      let importance = f32x4.splat(0);
      if (cols > 0) {
        const x = loadUpTo(w, cols);
        importance = f32x4.mul(f32x4.mul(x, x), v128.load(factors));
      }
      total = f64x2.add(total, f64x2.add(lowDoubles(importance), highDoubles(importance)));
      v128.store(marks + at, importance);
      cols -= 4;
      w += 16;
      factors += 16;
    }
    stripToPanel(marks, panel, m);
    markSmallest(panel, turned, m, drop);
    let part = f32x4.splat(0);
    for (let at: usize = 0; at < bytes; at += 16) {
      part = f32x4.add(part, v128.and(v128.load(panel + at), v128.load(turned + at)));
    }
    lost = f64x2.add(lost, f64x2.add(lowDoubles(part), highDoubles(part)));
    panelToStrip(turned, marks, m);
    marks += bytes;
  }
  store<f64>(sums, sumDoubles(total));
  store<f64>(sums, sumDoubles(lost), 8);
}

/**
 * The derivatives by w of a row, and, added, those by its factors. The slope by the importance is
 * `inverse` times `high` for a weight that goes, and times `low` for one that stays.
 */
export function removedRowGradient(
  cols: i32,
  w: usize,
  factors: usize,
  marks: usize,
  gradient: usize,
  byFactor: usize,
  inverse: f32,
  high: f32,
  low: f32,
  accumulate: bool,
): void {
  const inverses = f32x4.splat(inverse);
  const highs = f32x4.splat(high);
  const lows = f32x4.splat(low);
  for (; cols > 0; cols -= 4) {
    const level = v128.bitselect(highs, lows, v128.load(marks));
    const x = loadUpTo(w, cols);
    // The importance's share comes first: `inverse` alone times a level could overflow.
    const share = f32x4.mul(f32x4.mul(x, v128.load(factors)), inverses);
    const product = f32x4.mul(share, level);
    const before = accumulate ? loadUpTo(gradient, cols) : f32x4.splat(0);
    storeUpTo(gradient, f32x4.add(before, f32x4.add(product, product)), cols);
    if (byFactor) {
      addDoubles(byFactor, f32x4.mul(f32x4.mul(f32x4.mul(x, x), inverses), level));
      byFactor += 32;
    }
    w += 16;
    factors += 16;
    marks += 16;
    gradient += 16;
  }
}
