// Numbers as sums of two float32, about 48 bits: for sums whose error must not grow with their length.
// They do without fma, which need not be exact (Dekker 1971). Values beyond 2^63 overflow when they are
// squared.
fn twoSum(a: f32, b: f32) -> vec2f {
  let sum = a + b;
  let part = sum - a;
  return vec2f(sum, (a - (sum - part)) + (b - part));
}
fn splitOf(a: f32) -> vec2f {
  let scaled = 4097.0 * a;
  let high = scaled - (scaled - a);
  return vec2f(high, a - high);
}
fn twoProduct(a: f32, b: f32) -> vec2f {
  let product = a * b;
  let l = splitOf(a);
  let r = splitOf(b);
  let rest = ((l.x * r.x - product) + l.x * r.y + l.y * r.x) + l.y * r.y;
  return vec2f(product, rest);
}
fn addDouble(a: vec2f, b: vec2f) -> vec2f {
  let high = twoSum(a.x, b.x);
  let low = high.y + (a.y + b.y);
  let sum = high.x + low;
  return vec2f(sum, low - (sum - high.x));
}
