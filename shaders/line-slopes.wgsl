// What both gradients that build on totals [count, 2] (see line-totals) share: the parameters, and the
// slopes by the importance.
struct Params {
  wAt: u32, scaleAt: u32, totalsAt: u32, gradientAt: u32,
  count: u32, length: u32, lineStep: u32, step: u32, drop: u32, of_: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read> totals: array<f32>;
@group(0) @binding(4) var<storage, read_write> gradient: array<f32>;
//: include lines
fn totalsOf(line: u32) -> vec2f {
  let at = p.totalsAt + line * 2u;
  return vec2f(totals[at], totals[at + 1u]);
}
// The line's total times the slope by an element's importance.
fn slopeAt(line: u32, i: u32, totals: vec2f) -> f32 {
//: if REMOVED
  return f32(p.length) * (select(0.0, 1.0, isRemoved(line, i)) - totals.y);
//: else
  let part = importanceAt(line, i) / totals.x;
  if (isNothing(part)) { return 0.0; }
  return -(exactLog(part) + totals.y);
//: end
}
