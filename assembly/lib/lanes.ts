// Loads and stores of up to four floats, so that the end of a row runs through the same code as
// its middle and nothing beyond it is touched; and sums of four f32 lanes in f64.

/** The first min(left, 4) >= 1 floats at x, and zeros. */
// @ts-ignore: decorator
@inline
export function loadUpTo(x: usize, left: i32): v128 {
  return left >= 4 ? v128.load(x) : loadFew(x, left);
}

function loadFew(x: usize, left: i32): v128 {
  let v = v128.load32_zero(x);
  if (left > 1) v = v128.load32_lane(x, v, 1, 4);
  if (left > 2) v = v128.load32_lane(x, v, 2, 8);
  return v;
}

/** Stores the first min(left, 4) >= 1 lanes at x. */
// @ts-ignore: decorator
@inline
export function storeUpTo(x: usize, v: v128, left: i32): void {
  if (left >= 4) v128.store(x, v);
  else storeFew(x, v, left);
}

function storeFew(x: usize, v: v128, left: i32): void {
  v128.store32_lane(x, v, 0);
  if (left > 1) v128.store32_lane(x, v, 1, 4);
  if (left > 2) v128.store32_lane(x, v, 2, 8);
}

/** Lanes 0 and 1 as f64. */
// @ts-ignore: decorator
@inline
export function lowDoubles(v: v128): v128 {
  return f64x2.promote_low_f32x4(v);
}

/** Lanes 2 and 3 as f64. */
// @ts-ignore: decorator
@inline
export function highDoubles(v: v128): v128 {
  return f64x2.promote_low_f32x4(v128.shuffle<f32>(v, v, 2, 3, 0, 1));
}

/** The four f64 at `sums` += the four lanes. */
// @ts-ignore: decorator
@inline
export function addDoubles(sums: usize, v: v128): void {
  v128.store(sums, f64x2.add(v128.load(sums), lowDoubles(v)));
  v128.store(sums, f64x2.add(v128.load(sums, 16), highDoubles(v)), 16);
}

/** The sum of the two f64 lanes. */
// @ts-ignore: decorator
@inline
export function sumDoubles(v: v128): f64 {
  return f64x2.extract_lane(v, 0) + f64x2.extract_lane(v, 1);
}

/** Bytes that `count` f64 take when padded to whole vectors of four. */
export function paddedDoubles(count: i32): usize {
  return <usize>((count + 3) & ~3) << 3;
}
