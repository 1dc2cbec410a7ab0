// The importance of elements, w² times a factor, along the lines (rows or columns) of a matrix. Lines are
// `lineStep` elements apart, and the elements of a line `step`.
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
// Whether x is zero or subnormal. Bits are compared, so that NaN is neither.
fn isNothing(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) < 0x00800000u; }
//: if REMOVED
// Whether the element is among the `drop` smallest of its group of `of_`. Among equals the first is smaller.
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
