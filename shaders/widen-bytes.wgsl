// Codes [rows, cols], four in a word, minus the middle of their grid, times the scale of their row.
struct Params { bytesAt: u32, scalesAt: u32, toAt: u32, cols: u32, size: u32, middle: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> bytes: array<u32>;
@group(0) @binding(2) var<storage, read> scales: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
//: include thread-index
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = threadIndex(id, groups);
  if (i >= p.size) { return; }
  let at = p.bytesAt + i;
  let code = (bytes[at / 4u] >> (8u * (at % 4u))) & 255u;
  out[p.toAt + i] = f32(i32(code) - i32(p.middle)) * scales[p.scalesAt + i / p.cols];
}
