// Stretch k of a row of out is blocks[k] [size, size] times stretch k of that row of x, plus bias.
struct Params {
  xAt: u32, blocksAt: u32, biasAt: u32, outAt: u32,
  cols: u32, size: u32, count: u32, hasBias: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> blocks: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
//: include thread-index
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = threadIndex(id, groups);
  if (i >= p.count) { return; }
  let col = i % p.cols;
  let start = p.xAt + i - col % p.size;
  var sum = 0.0;
  for (var j = 0u; j < p.size; j++) { sum += blocks[p.blocksAt + col * p.size + j] * x[start + j]; }
  if (p.hasBias != 0u) { sum += bias[p.biasAt + col]; }
  out[p.outAt + i] = sum;
}
