// x = f(x, y), element by element. y is as large as x, or is one row that serves every row of x; or x is
// multiplied by one factor.
struct Params { yAt: u32, xAt: u32, size: u32, period: u32, factor: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> x: array<f32>;
//: include thread-index
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = threadIndex(id, groups);
  if (i >= p.size) { return; }
//: if SCALE
  x[p.xAt + i] *= y[p.yAt + i % p.period];
//: else
//: if FACTOR
  x[p.xAt + i] *= p.factor;
//: else
  x[p.xAt + i] += y[p.yAt + i % p.period];
//: end
//: end
}
