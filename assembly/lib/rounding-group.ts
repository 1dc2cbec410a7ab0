// What the smooth rounding loss takes of four elements and of one group; see kernels/rounding.ts.

/** The smallest normal number. */
const SMALLEST: usize = memory.data<f32>([1.1754943508222875e-38]);

/** |r|^p with p = 2^squarings. */
// @ts-ignore: decorator
@inline
export function powerOf(r: v128, squarings: i32): v128 {
  for (; squarings > 0; squarings--) r = f32x4.mul(r, r);
  return r;
}

/** r |r|^(p - 2). */
// @ts-ignore: decorator
@inline
export function slopeOf(r: v128, squarings: i32): v128 {
  let square = r;
  for (; squarings > 1; squarings--) {
    square = f32x4.mul(square, square);
    r = f32x4.mul(r, square);
  }
  return r;
}

/** S^(2 / p). */
// @ts-ignore: decorator
@inline
export function rootOf(s: v128, squarings: i32): v128 {
  for (; squarings > 1; squarings--) s = f32x4.sqrt(s);
  return s;
}

/** 1 / m, and zero where m is no normal number. */
// @ts-ignore: decorator
@inline
export function inverseOrZero(m: v128): v128 {
  return whereLarge(f32x4.div(f32x4.splat(1), m), m);
}

/** v, and zero where m is no normal number. */
// @ts-ignore: decorator
@inline
export function whereLarge(v: v128, m: v128): v128 {
  return v128.andnot(v, f32x4.lt(m, v128.load32_splat(SMALLEST)));
}

/** The sum of some factors. */
export function sumOfFactors(factors: usize, count: i32): f64 {
  let sum: f64 = 0;
  for (; count > 0; count--) {
    sum += load<f32>(factors);
    factors += 4;
  }
  return sum;
}
