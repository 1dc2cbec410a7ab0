// exp in four f32 lanes, and the loops over a row that softmax, attention and cross-entropy are
// made of.
//
// x = n ln 2 + r with |r| <= ln 2 / 2, exp(x) = 2^n (1 + r + r^2 q(r)). q has degree 4; its
// coefficients minimise the largest relative error of the whole (3.6e-9, fitted for this project),
// so rounding dominates: below 1.2e-7 for results that are normal numbers. ln 2 is split so that
// n times its upper part is exact. 2^n is applied in two halves: results leave the range of
// normal numbers gradually, to 0 below -103.98 and to infinity above 88.72.

import { madd, nmadd } from "./simd";

// Constants come from memory: engines rebuild v128 literals at every use.
const CONSTANTS: usize = memory.data<f32>([
  -105, // below, exp is 0
  89, // above, exp is infinite
  1.4426950216293335, // 1 / ln 2
  0.693359375, // upper part of ln 2
  -0.00021219444170128554, // the rest of ln 2
  0.0013814540579915047, // q, highest power first
  0.00836874544620514,
  0.04166838899254799,
  0.1666652113199234,
  0.4999999403953552,
  1,
  12582912, // 1.5 * 2^23
  -87, // about where results cease to be normal numbers
]);

/** 1 in every lane. */
// @ts-ignore: decorator
@inline
export function ones(): v128 {
  return v128.load32_splat(CONSTANTS, 40);
}

/** exp(x) in every lane; NaN stays NaN. */
// @ts-ignore: decorator
@inline
export function exp(x: v128): v128 {
  // pmin and pmax are one instruction each, and keep a NaN that stands first.
  const bounded = f32x4.pmin(
    f32x4.pmax(x, v128.load32_splat(CONSTANTS)),
    v128.load32_splat(CONSTANTS, 4),
  );
  // Adding 1.5 * 2^23 rounds to a whole number, which the low bits then hold.
  const rounder = v128.load32_splat(CONSTANTS, 44);
  const rounded = f32x4.add(f32x4.mul(bounded, v128.load32_splat(CONSTANTS, 8)), rounder);
  const n = f32x4.sub(rounded, rounder);
  let r = f32x4.sub(bounded, f32x4.mul(n, v128.load32_splat(CONSTANTS, 12)));
  r = f32x4.sub(r, f32x4.mul(n, v128.load32_splat(CONSTANTS, 16)));
  let q = v128.load32_splat(CONSTANTS, 20);
  q = f32x4.add(f32x4.mul(q, r), v128.load32_splat(CONSTANTS, 24));
  q = f32x4.add(f32x4.mul(q, r), v128.load32_splat(CONSTANTS, 28));
  q = f32x4.add(f32x4.mul(q, r), v128.load32_splat(CONSTANTS, 32));
  q = f32x4.add(f32x4.mul(q, r), v128.load32_splat(CONSTANTS, 36));
  const one = ones();
  const power = f32x4.add(one, f32x4.add(r, f32x4.mul(f32x4.mul(r, r), q)));
  const exponent = i32x4.sub(rounded, rounder);
  const half = i32x4.shr_s(exponent, 1);
  const rest = i32x4.sub(exponent, half);
  // Adding an exponent to the bits of 1 makes a power of two.
  return f32x4.mul(
    f32x4.mul(power, i32x4.add(one, i32x4.shl(half, 23))),
    i32x4.add(one, i32x4.shl(rest, 23)),
  );
}

/**
 * exp(x) in every lane for x <= 0; NaN stays NaN, and below -87, where results cease to be normal
 * numbers, it is the smallest of these.
 */
// @ts-ignore: decorator
@inline
export function expNegative(x: v128): v128 {
  const bounded = f32x4.pmax(x, v128.load32_splat(CONSTANTS, 48));
  const rounder = v128.load32_splat(CONSTANTS, 44);
  const rounded = madd(bounded, v128.load32_splat(CONSTANTS, 8), rounder);
  const n = f32x4.sub(rounded, rounder);
  let r = nmadd(n, v128.load32_splat(CONSTANTS, 12), bounded);
  r = nmadd(n, v128.load32_splat(CONSTANTS, 16), r);
  let q = v128.load32_splat(CONSTANTS, 20);
  q = madd(q, r, v128.load32_splat(CONSTANTS, 24));
  q = madd(q, r, v128.load32_splat(CONSTANTS, 28));
  q = madd(q, r, v128.load32_splat(CONSTANTS, 32));
  q = madd(q, r, v128.load32_splat(CONSTANTS, 36));
  const power = f32x4.add(ones(), madd(f32x4.mul(r, r), q, r));
  // Adding an exponent to the bits of 1 makes a power of two.
  const exponent = i32x4.sub(rounded, rounder);
  return f32x4.mul(power, i32x4.add(ones(), i32x4.shl(exponent, 23)));
}

/** exp(x) of one number. */
export function expScalar(x: f32): f32 {
  return f32x4.extract_lane(exp(f32x4.splat(x)), 0);
}

/** The largest of `count` >= 1 floats; of a row with a NaN any element, or NaN. */
export function largest(x: usize, count: i32): f32 {
  let most: f32 = load<f32>(x);
  if (count >= 4) {
    let lanes = v128.load(x);
    while (count >= 4) {
      lanes = f32x4.pmax(lanes, v128.load(x));
      x += 16;
      count -= 4;
    }
    lanes = f32x4.max(lanes, v128.shuffle<f32>(lanes, lanes, 2, 3, 0, 1));
    most = max(f32x4.extract_lane(lanes, 0), f32x4.extract_lane(lanes, 1));
  }
  for (; count > 0; count--) {
    most = max(most, load<f32>(x));
    x += 4;
  }
  return most;
}

/**
 * Sum over `count` floats of exp((x - shift) * factor), in f64. With `out` not 0 the terms are
 * stored there; `out` may be x.
 */
export function expRow(x: usize, out: usize, count: i32, shift: f32, factor: f32): f64 {
  const shifts = f32x4.splat(shift);
  const factors = f32x4.splat(factor);
  let low = f64x2.splat(0);
  let high = f64x2.splat(0);
  for (; count >= 4; count -= 4) {
    const terms = exp(f32x4.mul(f32x4.sub(v128.load(x), shifts), factors));
    if (out) {
      v128.store(out, terms);
      out += 16;
    }
    low = f64x2.add(low, f64x2.promote_low_f32x4(terms));
    high = f64x2.add(high, f64x2.promote_low_f32x4(v128.shuffle<f32>(terms, terms, 2, 3, 0, 1)));
    x += 16;
  }
  low = f64x2.add(low, high);
  let sum = f64x2.extract_lane(low, 0) + f64x2.extract_lane(low, 1);
  for (; count > 0; count--) {
    const term = expScalar((load<f32>(x) - shift) * factor);
    if (out) {
      store<f32>(out, term);
      out += 4;
    }
    sum += term;
    x += 4;
  }
  return sum;
}

/** out [count] = softmax(x * factor) for factor > 0 and count >= 1; out may be x. */
export function softmaxRow(x: usize, out: usize, count: i32, factor: f32): void {
  const inverse = <f32>(1 / expRow(x, out, count, largest(x, count), factor));
  const inverses = f32x4.splat(inverse);
  for (; count >= 4; count -= 4) {
    v128.store(out, f32x4.mul(v128.load(out), inverses));
    out += 16;
  }
  for (; count > 0; count--) {
    store<f32>(out, load<f32>(out) * inverse);
    out += 4;
  }
}
