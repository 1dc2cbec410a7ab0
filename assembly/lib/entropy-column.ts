// The three passes that entropies of columns take, for one row each; see kernels/entropy.ts.
// Vectors of all columns are padded to a multiple of 4.

import { whereNormal } from "./entropy-row";
import { addDoubles, highDoubles, loadUpTo, lowDoubles, storeUpTo, sumDoubles } from "./lanes";
import { log } from "./log";

/** Adds w^2 times the factor to each column's total. */
export function columnTotals(cols: i32, w: usize, weight: f32, totals: usize): void {
  const factor = f32x4.splat(weight);
  for (; cols > 0; cols -= 4) {
    const x = loadUpTo(w, cols);
    addDoubles(totals, f32x4.mul(f32x4.mul(x, x), factor));
    w += 16;
    totals += 32;
  }
}

/** Adds -p log p to each column's entropy. */
export function columnEntropies(
  cols: i32,
  w: usize,
  weight: f32,
  inverses: usize,
  entropies: usize,
): void {
  const factor = f32x4.splat(weight);
  for (; cols > 0; cols -= 4) {
    const x = loadUpTo(w, cols);
    const p = f32x4.mul(f32x4.mul(f32x4.mul(x, x), factor), v128.load(inverses));
    addDoubles(entropies, whereNormal(f32x4.neg(f32x4.mul(p, log(p))), p));
    w += 16;
    inverses += 16;
    entropies += 32;
  }
}

/**
 * The derivatives by w of one row of columns.
 *
 * @returns the derivative by the row's factor
 */
export function columnGradient(
  cols: i32,
  w: usize,
  weight: f32,
  inverses: usize,
  entropies: usize,
  gradient: usize,
  accumulate: bool,
): f64 {
  const factor = f32x4.splat(weight);
  let sum = f64x2.splat(0);
  for (; cols > 0; cols -= 4) {
    const x = loadUpTo(w, cols);
    const inverse = v128.load(inverses);
    const square = f32x4.mul(x, x);
    const p = f32x4.mul(f32x4.mul(square, factor), inverse);
    const steep = f32x4.mul(f32x4.add(log(p), v128.load(entropies)), inverse);
    const slope = whereNormal(steep, p);
    const product = f32x4.mul(f32x4.mul(x, factor), slope);
    const before = accumulate ? loadUpTo(gradient, cols) : f32x4.splat(0);
    storeUpTo(gradient, f32x4.sub(before, f32x4.add(product, product)), cols);
    const share = f32x4.mul(square, slope);
    sum = f64x2.add(sum, f64x2.add(lowDoubles(share), highDoubles(share)));
    w += 16;
    inverses += 16;
    entropies += 16;
    gradient += 16;
  }
  return -sumDoubles(sum);
}
