// Reads the diagonal of a square matrix, or adds to it.
struct Params { fromAt: u32, toAt: u32, n: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> source: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i >= p.n) { return; }
//: if ADD
  out[p.toAt + i * p.n + i] += source[p.fromAt + i];
//: else
  out[p.toAt + i] = source[p.fromAt + i * p.n + i];
//: end
}
