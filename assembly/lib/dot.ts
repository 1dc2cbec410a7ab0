/** The dot product of two vectors of `size` floats, added up in float64. */
export function dotInDouble(size: usize, a: usize, b: usize): f64 {
  let low = f64x2.splat(0);
  let high = f64x2.splat(0);
  for (; size >= 4; size -= 4) {
    const left = v128.load(a);
    const right = v128.load(b);
    const leftHigh = v128.shuffle<f32>(left, left, 2, 3, 2, 3);
    const rightHigh = v128.shuffle<f32>(right, right, 2, 3, 2, 3);
    low = f64x2.add(
      low,
      f64x2.mul(f64x2.promote_low_f32x4(left), f64x2.promote_low_f32x4(right)),
    );
    high = f64x2.add(
      high,
      f64x2.mul(f64x2.promote_low_f32x4(leftHigh), f64x2.promote_low_f32x4(rightHigh)),
    );
    a += 16;
    b += 16;
  }
  const sums = f64x2.add(low, high);
  let total = f64x2.extract_lane(sums, 0) + f64x2.extract_lane(sums, 1);
  for (; size > 0; size--) {
    total += <f64>load<f32>(a) * <f64>load<f32>(b);
    a += 4;
    b += 4;
  }
  return total;
}
