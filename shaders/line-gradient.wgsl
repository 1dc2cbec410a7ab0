// gradient [rows, cols] = the derivatives by w, with ACCUMULATE added to what is there; one thread an
// element.
struct Params {
  wAt: u32, scaleAt: u32, totalsAt: u32, gradientAt: u32,
  count: u32, length: u32, lineStep: u32, step: u32, drop: u32, of_: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read> totals: array<f32>;
@group(0) @binding(4) var<storage, read_write> gradient: array<f32>;
//: include thread-index
//: include lines
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = threadIndex(id, groups);
  if (at >= p.count * p.length) { return; }
//: if ROWS
  let line = at / p.length;
  let i = at % p.length;
//: else
  let line = at % p.count;
  let i = at / p.count;
//: end
  let known = vec2f(totals[p.totalsAt + line * 2u], totals[p.totalsAt + line * 2u + 1u]);
  var slope = 0.0;
  if (!isNothing(known.x)) {
    slope = 2.0 * weightAt(line, i) * factorAt(i) / known.x * slopeAt(line, i, known);
  }
//: if ACCUMULATE
  slope += gradient[p.gradientAt + at];
//: end
  gradient[p.gradientAt + at] = slope;
}
