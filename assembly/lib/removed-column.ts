// The two passes that the loss by removed importance takes over columns, for the m rows of one
// group each; see kernels/removed.ts. Vectors of all columns are padded to a multiple of 4.

import { markSmallest } from "./groups";
import { addDoubles, highDoubles, loadUpTo, lowDoubles, storeUpTo } from "./lanes";

/** The panel of up to four columns' importances, and its marks after it. */
// @ts-ignore: decorator
@inline
function markPanel(
  left: i32,
  w: usize,
  step: usize,
  factors: usize,
  m: i32,
  drop: i32,
  panel: usize,
): void {
  const bytes = <usize>m << 4;
  for (let at: usize = 0; at < bytes; at += 16) {
    const x = loadUpTo(w, left);
    const factor = v128.load32_splat(factors + (at >> 2));
    v128.store(panel + at, f32x4.mul(f32x4.mul(x, x), factor));
    w += step;
  }
  markSmallest(panel, panel + bytes, m, drop);
}

/**
 * Adds what each column has and loses in a group of rows to `totals` and `losts` f64.
 *
 * @param step bytes from row to row
 * @param panel 32 m bytes
 */
export function markColumns(
  cols: i32,
  w: usize,
  step: usize,
  factors: usize,
  m: i32,
  drop: i32,
  totals: usize,
  losts: usize,
  panel: usize,
): void {
  const bytes = <usize>m << 4;
  for (; cols > 0; cols -= 4) {
    markPanel(cols, w, step, factors, m, drop, panel);
    let total = f32x4.splat(0);
    let lost = f32x4.splat(0);
    for (let at = panel; at < panel + bytes; at += 16) {
      const importance = v128.load(at);
      total = f32x4.add(total, importance);
      lost = f32x4.add(lost, v128.and(importance, v128.load(at + bytes)));
    }
    addDoubles(totals, total);
    addDoubles(losts, lost);
    w += 16;
    totals += 32;
    losts += 32;
  }
}

/**
 * The derivatives by w of a group of rows. `slopes` holds three arrays of f32, `bytesOfSlopes` apart:
 * each column's 1 / total, and the factor on it for a weight that goes and for one that stays.
 *
 * @param sums m f64x2: each row's derivative by its factor is added to it
 * @param panel 32 m bytes
 */
export function removedColumnGradient(
  cols: i32,
  w: usize,
  step: usize,
  factors: usize,
  m: i32,
  drop: i32,
  slopes: usize,
  bytesOfSlopes: usize,
  gradient: usize,
  sums: usize,
  accumulate: bool,
  panel: usize,
): void {
  const bytes = <usize>m << 4;
  for (; cols > 0; cols -= 4) {
    markPanel(cols, w, step, factors, m, drop, panel);
    const inverse = v128.load(slopes);
    const high = v128.load(slopes + bytesOfSlopes);
    const low = v128.load(slopes + 2 * bytesOfSlopes);
    let row = w;
    let out = gradient;
    for (let at: usize = 0; at < bytes; at += 16) {
      const x = loadUpTo(row, cols);
      const factor = v128.load32_splat(factors + (at >> 2));
      const level = v128.bitselect(high, low, v128.load(panel + bytes + at));
      const product = f32x4.mul(f32x4.mul(f32x4.mul(x, factor), inverse), level);
      const before = accumulate ? loadUpTo(out, cols) : f32x4.splat(0);
      storeUpTo(out, f32x4.add(before, f32x4.add(product, product)), cols);
      const share = f32x4.mul(f32x4.mul(f32x4.mul(x, x), inverse), level);
      const sum = f64x2.add(lowDoubles(share), highDoubles(share));
      v128.store(sums + at, f64x2.add(v128.load(sums + at), sum));
      row += step;
      out += step;
    }
    w += 16;
    slopes += 16;
    gradient += 16;
  }
}
