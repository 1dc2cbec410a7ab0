// out = |w| * columnScale[column] * rowScale[row], rounded after each factor.
struct Params {
  wAt: u32, columnsAt: u32, rowsAt: u32, outAt: u32,
  cols: u32, size: u32, hasColumns: u32, hasRows: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> columnScale: array<f32>;
@group(0) @binding(3) var<storage, read> rowScale: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
//: include thread-index
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = threadIndex(id, groups);
  if (i >= p.size) { return; }
  var score = abs(w[p.wAt + i]);
  if (p.hasColumns != 0u) { score *= columnScale[p.columnsAt + i % p.cols]; }
  if (p.hasRows != 0u) { score *= rowScale[p.rowsAt + i / p.cols]; }
  out[p.outAt + i] = score;
}
