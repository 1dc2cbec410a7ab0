// scores [rows, width] = (w / u's diagonal)² for the columns of w [rows, cols] from `start` on.
struct Params { wAt: u32, uAt: u32, scoresAt: u32, size: u32, cols: u32, start: u32, width: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> u: array<f32>;
@group(0) @binding(3) var<storage, read_write> scores: array<f32>;
//: include thread-index
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = threadIndex(id, groups);
  if (i >= p.size) { return; }
  let col = p.start + i % p.width;
  let error = w[p.wAt + (i / p.width) * p.cols + col] / u[p.uAt + col * (p.cols + 1u)];
  scores[p.scoresAt + i] = error * error;
}
