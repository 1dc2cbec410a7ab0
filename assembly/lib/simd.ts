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

/** y [n] -= factors [count] times rows of x [count, n], which are `ld` bytes apart. */
export function subtractRows(n: i32, count: i32, factors: usize, x: usize, ld: usize, y: usize): void {
  for (; n >= 16; n -= 16) {
    let a = v128.load(y);
    let b = v128.load(y, 16);
    let c = v128.load(y, 32);
    let d = v128.load(y, 48);
    let row = x;
    for (let j = 0; j < count; j++) {
      const factor = v128.load32_splat(factors + (<usize>j << 2));
      a = nmadd(factor, v128.load(row), a);
      b = nmadd(factor, v128.load(row, 16), b);
      c = nmadd(factor, v128.load(row, 32), c);
      d = nmadd(factor, v128.load(row, 48), d);
      row += ld;
    }
    v128.store(y, a);
    v128.store(y, b, 16);
    v128.store(y, c, 32);
    v128.store(y, d, 48);
    x += 64;
    y += 64;
  }
  if (n == 0) return;
  for (let j = 0; j < count; j++) {
    subtractScaled(n, load<f32>(factors + (<usize>j << 2)), x + <usize>j * ld, y);
  }
}
