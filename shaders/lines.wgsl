// The importance w² times factors along the lines (rows or columns) of a matrix. A line and an element
// of it are `lineStep` and `step` elements from the next.
fn factorAt(i: u32) -> f32 {
//: if SCALED
//: if INVERSE
  return 1.0 / scale[p.scaleAt + i];
//: else
  return scale[p.scaleAt + i];
//: end
//: else
  return 1.0;
//: end
}
fn weightAt(line: u32, i: u32) -> f32 { return w[p.wAt + line * p.lineStep + i * p.step]; }
fn importanceAt(line: u32, i: u32) -> f32 {
  let x = weightAt(line, i);
  return x * x * factorAt(i);
}
// Zeros and what is no normal number; by the bits, so that NaN is none of them.
fn isNothing(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) < 0x00800000u; }
//: if REMOVED
// Whether the element is among the `drop` smallest of its group of `of_`, the lowest first among equals.
fn isRemoved(line: u32, i: u32) -> bool {
  let first = i - i % p.of_;
  let own = importanceAt(line, i);
  var before = 0u;
  for (var j = first; j < first + p.of_; j++) {
    let other = importanceAt(line, j);
    if (other < own || (other == own && j < i)) { before++; }
  }
  return before < p.drop;
}
//: else
//: include log
//: end
