// x / (1 + exp(-2 sqrt(2 / pi) (x + 0.044715 x³))).
fn geluTanh(x: f32) -> f32 {
  return x / (1.0 + exactExp((x + x * x * x * 0.044715) * -1.5957691216057308));
}
