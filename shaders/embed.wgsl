// out [T, width] = the rows of a table w that ids [T] name. Only `count` rows of the table, from `first`
// on, are at hand; for other ids nothing is written.
struct Params { idsAt: u32, tableAt: u32, outAt: u32, width: u32, size: u32, first: u32, count: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
//: include half-weights
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
//: include thread-index
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = threadIndex(id, groups);
  if (i >= p.size) { return; }
  let row = ids[p.idsAt + i / p.width] - p.first;
  if (row >= p.count) { return; }
  out[p.outAt + i] = weightAt(p.tableAt + row * p.width + i % p.width);
}
