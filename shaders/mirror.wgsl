// Copies the upper triangle of a square matrix onto its lower one.
struct Params { aAt: u32, n: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> a: array<f32>;
@compute @workgroup_size(16, 16)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.y >= p.n || id.x >= id.y) { return; }
  a[p.aAt + id.y * p.n + id.x] = a[p.aAt + id.x * p.n + id.y];
}
