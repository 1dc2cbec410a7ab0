// Turns element i of a head with element i + half by the angle of its position; what a head has beyond
// 2 half elements stays.
struct Params {
  cosAt: u32, sinAt: u32, xAt: u32, half: u32, heads: u32, start: u32, size: u32, headDim: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> cosines: array<f32>;
@group(0) @binding(2) var<storage, read> sines: array<f32>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;
//: include thread-index
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let pair = threadIndex(id, groups);
  if (pair >= p.size) { return; }
  let i = pair % p.half;
  let head = pair / p.half;
  let angle = (p.start + head / p.heads) * p.half + i;
  let c = cosines[p.cosAt + angle];
  let s = sines[p.sinAt + angle];
  let at = p.xAt + head * p.headDim + i;
  let a = x[at];
  let b = x[at + p.half];
  x[at] = a * c - b * s;
  x[at + p.half] = b * c + a * s;
}
