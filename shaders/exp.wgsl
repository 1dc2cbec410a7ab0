// exp(x) to two units in the last place: the built-in loses accuracy as |x| grows. x = n ln 2 + r with
// ln 2 in two parts, and the Taylor series of exp(r), |r| <= ln 2 / 2, up to r^7.
fn exactExp(x: f32) -> f32 {
  let bounded = clamp(x, -110.0, 100.0);
  let n = round(bounded * 1.44269504);
  let r = fma(n, -1.42860677e-6, fma(n, -0.693145752, bounded));
  var series = fma(r, 1.98412698e-4, 1.38888889e-3);
  series = fma(r, series, 8.33333333e-3);
  series = fma(r, series, 4.16666667e-2);
  series = fma(r, series, 0.166666667);
  series = fma(r, series, 0.5);
  series = fma(r, series, 1.0);
  series = fma(r, series, 1.0);
  // 2^n comes in two factors: in one it may leave float32's range.
  let low = i32(n) / 2;
  let high = i32(n) - low;
  let value = series * bitcast<f32>((low + 127) << 23u) * bitcast<f32>((high + 127) << 23u);
  return select(value, x, (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u);
}
