// The three passes over one row that its entropy and derivatives take; see kernels/entropy.ts.
// `factors` (f32) and `byFactor` (f64) are padded to a multiple of 4.

import { addDoubles, highDoubles, loadUpTo, lowDoubles, storeUpTo, sumDoubles } from "./lanes";
import { log } from "./log";

/** The smallest normal number. */
const SMALLEST: usize = memory.data<f32>([1.1754943508222875e-38]);

/** v, and zero where p is below the smallest normal number. */
// @ts-ignore: decorator
@inline
export function whereNormal(v: v128, p: v128): v128 {
  return v128.andnot(v, f32x4.lt(p, v128.load32_splat(SMALLEST)));
}

/** 1 / total, and zero for a line whose importance is no normal number. */
// @ts-ignore: decorator
@inline
export function inverseOf(total: f64): f32 {
  return total < 1.1754943508222875e-38 ? 0 : <f32>(1 / total);
}

/** Sum of w^2 times factors over a row. */
export function rowTotal(cols: i32, w: usize, factors: usize): f64 {
  let total = f64x2.splat(0);
  for (; cols > 0; cols -= 4) {
    const x = loadUpTo(w, cols);
    const importance = f32x4.mul(f32x4.mul(x, x), v128.load(factors));
    total = f64x2.add(total, f64x2.add(lowDoubles(importance), highDoubles(importance)));
    w += 16;
    factors += 16;
  }
  return sumDoubles(total);
}

/** The entropy of a row whose total has the given inverse. */
export function rowEntropy(cols: i32, w: usize, factors: usize, inverse: f32): f64 {
  const inverses = f32x4.splat(inverse);
  let total = f64x2.splat(0);
  for (; cols > 0; cols -= 4) {
    const x = loadUpTo(w, cols);
    const p = f32x4.mul(f32x4.mul(f32x4.mul(x, x), v128.load(factors)), inverses);
    const term = whereNormal(f32x4.mul(p, log(p)), p);
    total = f64x2.add(total, f64x2.add(lowDoubles(term), highDoubles(term)));
    w += 16;
    factors += 16;
  }
  return -sumDoubles(total);
}

/** The derivatives by w of a row, and, added, those by its factors. */
export function rowGradient(
  cols: i32,
  w: usize,
  factors: usize,
  gradient: usize,
  byFactor: usize,
  inverse: f32,
  entropy: f32,
  accumulate: bool,
): void {
  const inverses = f32x4.splat(inverse);
  const entropies = f32x4.splat(entropy);
  for (; cols > 0; cols -= 4) {
    const x = loadUpTo(w, cols);
    const factor = v128.load(factors);
    const square = f32x4.mul(x, x);
    const p = f32x4.mul(f32x4.mul(square, factor), inverses);
    const slope = whereNormal(f32x4.mul(f32x4.add(log(p), entropies), inverses), p);
    // -2 w s (log p + E) / T
    const product = f32x4.mul(f32x4.mul(x, factor), slope);
    const before = accumulate ? loadUpTo(gradient, cols) : f32x4.splat(0);
    storeUpTo(gradient, f32x4.sub(before, f32x4.add(product, product)), cols);
    if (byFactor) {
      addDoubles(byFactor, f32x4.neg(f32x4.mul(square, slope)));
      byFactor += 32;
    }
    w += 16;
    factors += 16;
    gradient += 16;
  }
}
