// out [T, k] = the rows of a table on a grid that ids [T] name. Only `count` rows of the table, from `first`
// on, are at hand; for other ids nothing is written.
struct Params {
  idsAt: u32, codesAt: u32, scalesAt: u32, zerosAt: u32, outAt: u32,
  k: u32, groups: u32, runsAGroup: u32, zero: i32, hasZeros: u32, size: u32, first: u32, count: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> codes: array<u32>;
@group(0) @binding(3) var<storage, read> scales: array<f32>;
@group(0) @binding(4) var<storage, read> zeros: array<u32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;
//: include thread-index
//: include grid-weights
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = threadIndex(id, groups);
  if (i >= p.size) { return; }
  let row = ids[p.idsAt + i / p.k] - p.first;
  if (row >= p.count) { return; }
  out[p.outAt + i] = gridWeight(row, i % p.k);
}
