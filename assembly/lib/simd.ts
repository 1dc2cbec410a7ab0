// The SIMD steps that kernels share. Multiply-adds go through here so that a build with relaxed
// SIMD fuses them from the same source.

/** sum + a * b in every lane. */
// @ts-ignore: decorator
@inline
export function madd(a: v128, b: v128, sum: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD
    ? f32x4.relaxed_madd(a, b, sum)
    : f32x4.add(sum, f32x4.mul(a, b));
}

/** sum - a * b in every lane. */
// @ts-ignore: decorator
@inline
export function nmadd(a: v128, b: v128, sum: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD
    ? f32x4.relaxed_nmadd(a, b, sum)
    : f32x4.sub(sum, f32x4.mul(a, b));
}

/** The sum of the four f32 lanes. */
// @ts-ignore: decorator
@inline
export function sumLanes(v: v128): f32 {
  const pairs = f32x4.add(v, v128.shuffle<f32>(v, v, 2, 3, 0, 1));
  return f32x4.extract_lane(pairs, 0) + f32x4.extract_lane(pairs, 1);
}

/** The lane sums of four vectors, one in each lane. */
// @ts-ignore: decorator
@inline
export function sumLanesOfFour(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.add(v128.shuffle<f32>(a, b, 0, 4, 1, 5), v128.shuffle<f32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.add(v128.shuffle<f32>(c, d, 0, 4, 1, 5), v128.shuffle<f32>(c, d, 2, 6, 3, 7));
  return f32x4.add(v128.shuffle<f64>(ab, cd, 0, 2), v128.shuffle<f64>(ab, cd, 1, 3));
}

/** y [n] -= factor * x [n]. */
// @ts-ignore: decorator
@inline
export function subtractScaled(n: i32, factor: f32, x: usize, y: usize): void {
  const f = f32x4.splat(factor);
  for (; n >= 4; n -= 4) {
    v128.store(y, nmadd(f, v128.load(x), v128.load(y)));
    x += 16;
    y += 16;
  }
  for (; n > 0; n--) {
    store<f32>(y, load<f32>(y) - factor * load<f32>(x));
    x += 4;
    y += 4;
  }
}

/** y [n] += factor * x [n]. */
// @ts-ignore: decorator
@inline
export function addScaled(n: i32, factor: f32, x: usize, y: usize): void {
  const f = f32x4.splat(factor);
  for (; n >= 4; n -= 4) {
    v128.store(y, madd(f, v128.load(x), v128.load(y)));
    x += 16;
    y += 16;
  }
  for (; n > 0; n--) {
    store<f32>(y, load<f32>(y) + factor * load<f32>(x));
    x += 4;
    y += 4;
  }
}
