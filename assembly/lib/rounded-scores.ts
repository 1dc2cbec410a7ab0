// Products of one query as int16 with int8 keys of one head, read in place. Sums of codes are whole numbers
// below 2^31, and exact.

/** The largest magnitude of a query's codes whose products with `dim` codes of int8 sum up below 2^31. */
export function mostOfQuery(dim: i32): i32 {
  return min(32767, 0x7fffffff / (128 * dim));
}

// @ts-ignore: decorator
@inline
function sumWords(v: v128): i32 {
  const pairs = i32x4.add(v, v128.shuffle<i32>(v, v, 2, 3, 0, 1));
  return i32x4.extract_lane(pairs, 0) + i32x4.extract_lane(pairs, 1);
}

/**
 * scores [count] = k [count, dim] q, times the scales of both.
 *
 * @param stride bytes between rows of k
 * @param scales of the rows of k, `step` bytes apart
 * @param scale of q
 */
export function scoreCodes(
  q: usize,
  k: usize,
  stride: usize,
  scales: usize,
  step: usize,
  count: i32,
  dim: i32,
  scale: f32,
  scores: usize,
): void {
  for (; count >= 4; count -= 4) {
    const k1 = k + stride;
    const k2 = k1 + stride;
    const k3 = k2 + stride;
    let s0 = i32x4.splat(0);
    let s1 = i32x4.splat(0);
    let s2 = i32x4.splat(0);
    let s3 = i32x4.splat(0);
    let i: usize = 0;
    for (; i + 8 <= <usize>dim; i += 8) {
      const eight = v128.load(q + (i << 1));
      s0 = i32x4.add(s0, i32x4.dot_i16x8_s(eight, v128.load8x8_s(k + i)));
      s1 = i32x4.add(s1, i32x4.dot_i16x8_s(eight, v128.load8x8_s(k1 + i)));
      s2 = i32x4.add(s2, i32x4.dot_i16x8_s(eight, v128.load8x8_s(k2 + i)));
      s3 = i32x4.add(s3, i32x4.dot_i16x8_s(eight, v128.load8x8_s(k3 + i)));
    }
    let a = sumWords(s0);
    let b = sumWords(s1);
    let c = sumWords(s2);
    let d = sumWords(s3);
    for (; i < <usize>dim; i++) {
      const one = <i32>load<i16>(q + (i << 1));
      a += one * <i32>load<i8>(k + i);
      b += one * <i32>load<i8>(k1 + i);
      c += one * <i32>load<i8>(k2 + i);
      d += one * <i32>load<i8>(k3 + i);
    }
    store<f32>(scores, <f32>a * (scale * load<f32>(scales)));
    store<f32>(scores, <f32>b * (scale * load<f32>(scales + step)), 4);
    store<f32>(scores, <f32>c * (scale * load<f32>(scales + 2 * step)), 8);
    store<f32>(scores, <f32>d * (scale * load<f32>(scales + 3 * step)), 12);
    k = k3 + stride;
    scales += 4 * step;
    scores += 16;
  }
  for (; count > 0; count--) {
    let sums = i32x4.splat(0);
    let i: usize = 0;
    for (; i + 8 <= <usize>dim; i += 8) {
      sums = i32x4.add(sums, i32x4.dot_i16x8_s(v128.load(q + (i << 1)), v128.load8x8_s(k + i)));
    }
    let sum = sumWords(sums);
    for (; i < <usize>dim; i++) sum += <i32>load<i16>(q + (i << 1)) * <i32>load<i8>(k + i);
    store<f32>(scores, <f32>sum * (scale * load<f32>(scales)));
    k += stride;
    scales += step;
    scores += 4;
  }
}
