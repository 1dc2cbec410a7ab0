// out [rows, to] = stretches of `width` columns of x [rows, from], one every `stride` from `first` on.
struct Params {
  xAt: u32, outAt: u32, size: u32, from_: u32, to: u32, first: u32, width: u32, stride: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
//: include thread-index
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = threadIndex(id, groups);
  if (i >= p.size) { return; }
  let col = i % p.to;
  let from_ = p.first + col / p.width * p.stride + col % p.width;
  out[p.outAt + i] = x[p.xAt + i / p.to * p.from_ + from_];
}
