// Runs of keys' and values' columns as int8 with an f32 scale each, such as heads, and queries as int16: rounding
// and widening them. A run that holds NaN or infinity gets codes of 0 and a scale that is not finite, so that all
// that is made of it is NaN.

/** The largest magnitude of x [dim]; NaN where it holds one. */
function largestMagnitude(x: usize, dim: i32): f32 {
  let most = f32x4.splat(0);
  for (; dim >= 4; dim -= 4) {
    most = f32x4.max(most, f32x4.abs(v128.load(x)));
    x += 16;
  }
  let result = max(
    max(f32x4.extract_lane(most, 0), f32x4.extract_lane(most, 1)),
    max(f32x4.extract_lane(most, 2), f32x4.extract_lane(most, 3)),
  );
  for (; dim > 0; dim--) {
    result = max(result, abs(load<f32>(x)));
    x += 4;
  }
  return result;
}

/** Four of x / scale as whole numbers; NaN becomes 0. */
// @ts-ignore: decorator
@inline
function fourCodes(x: usize, scale: v128): v128 {
  return i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.div(v128.load(x), scale)));
}

// @ts-ignore: decorator
@inline
function code(x: f32, scale: f32): i32 {
  const whole = nearest(x / scale);
  return whole == whole ? <i32>whole : 0;
}

/** codes [dim] i8 = x [dim] / its scale, which is returned: max |x| / 127. */
export function roundHead(x: usize, dim: i32, codes: usize): f32 {
  const scale = largestMagnitude(x, dim) / 127;
  if (!(scale > 0 && scale < Infinity)) {
    memory.fill(codes, 0, <usize>dim);
    return scale;
  }
  const scales = f32x4.splat(scale);
  for (; dim >= 4; dim -= 4) {
    const words = i16x8.narrow_i32x4_s(fourCodes(x, scales), fourCodes(x, scales));
    v128.store32_lane(codes, i8x16.narrow_i16x8_s(words, words), 0);
    x += 16;
    codes += 4;
  }
  for (; dim > 0; dim--) {
    store<i8>(codes, <i8>max(-128, min(127, code(load<f32>(x), scale))));
    x += 4;
    codes++;
  }
  return scale;
}

/** The same as i16, with max |x| / most. */
export function roundQuery(x: usize, dim: i32, most: i32, codes: usize): f32 {
  const scale = largestMagnitude(x, dim) / <f32>most;
  if (!(scale > 0 && scale < Infinity)) {
    memory.fill(codes, 0, <usize>dim << 1);
    return scale;
  }
  const scales = f32x4.splat(scale);
  for (; dim >= 4; dim -= 4) {
    const fours = fourCodes(x, scales);
    v128.store64_lane(codes, i16x8.narrow_i32x4_s(fours, fours), 0);
    x += 16;
    codes += 8;
  }
  for (; dim > 0; dim--) {
    store<i16>(codes, <i16>max(-most, min(most, code(load<f32>(x), scale))));
    x += 4;
    codes += 2;
  }
  return scale;
}

/**
 * out [count, runs, dim] f32 = codes [count, runs, dim] times the scales [count, runs].
 *
 * @param stride bytes between rows of codes
 * @param step bytes between scales
 */
export function widenHeads(
  codes: usize,
  scales: usize,
  stride: usize,
  step: usize,
  count: i32,
  runs: i32,
  dim: i32,
  out: usize,
): void {
  for (; count > 0; count--) {
    for (let run = 0; run < runs; run++) {
      const own = codes + <usize>(run * dim);
      const scale = load<f32>(scales + (<usize>run << 2));
      const factor = f32x4.splat(scale);
      let i = 0;
      for (; i + 8 <= dim; i += 8) {
        const eight = v128.load8x8_s(own + <usize>i);
        const low = f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(eight));
        const high = f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(eight));
        v128.store(out, f32x4.mul(low, factor));
        v128.store(out, f32x4.mul(high, factor), 16);
        out += 32;
      }
      for (; i < dim; i++) {
        store<f32>(out, <f32>load<i8>(own + <usize>i) * scale);
        out += 4;
      }
    }
    codes += stride;
    scales += step;
  }
}
