// x times the share of a normal variable's values below x. Method and coefficients are those of
// assembly/lib/gelu.ts.
fn gelu(x: f32) -> f32 {
  let a = min(abs(x), 20.0);
  let t = 1.0 / (1.0 + 0.23 * a);
  var g = t * -0.0784410759806633 + 0.29027998447418213;
  g = g * t - 0.27783524990081787;
  g = g * t + 0.30111920833587646;
  g = g * t - 0.03265931084752083;
  g = g * t + 0.11939428001642227;
  g = g * t + 0.0857962816953659;
  g = g * t + 0.0923733115196228;
  g = g * t - 0.0000274258891295176;
  let value = max(x, 0.0) - a * exactExp(a * a * -0.5) * g;
  return select(value, x, (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u);
}
