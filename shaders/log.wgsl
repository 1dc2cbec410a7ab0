// The natural logarithm of normal positive numbers to one unit in the last place, also near 1, where the
// built-in may be off by 2^-21. Method and coefficients are those of assembly/lib/log.ts.
fn exactLog(x: f32) -> f32 {
  let bits = bitcast<i32>(x);
  // From sqrt(1/2) on, numbers belong to the next power of two.
  let power = (bits - 0x3f3504f3) >> 23u;
  let n = f32(power);
  let f = bitcast<f32>(bits - (power << 23u)) - 1.0;
  var q = f * -0.07634497433900833 + 0.1276157796382904;
  q = q * f - 0.13160182535648346;
  q = q * f + 0.14201757311820984;
  q = q * f - 0.16623356938362122;
  q = q * f + 0.20001226663589478;
  q = q * f - 0.2500081956386566;
  q = q * f + 0.3333333134651184;
  let low = f * f * f * q + n * -0.00021219444170128554 - f * f * 0.5;
  return f + low + n * 0.693359375;
}
