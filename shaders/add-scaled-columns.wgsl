// x [rows, cols] += factor * y * scale [cols], column by column.
struct Params { yAt: u32, scaleAt: u32, xAt: u32, size: u32, cols: u32, factor: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;
//: include thread-index
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = threadIndex(id, groups);
  if (i >= p.size) { return; }
  x[p.xAt + i] += p.factor * y[p.yAt + i] * scale[p.scaleAt + i % p.cols];
}
