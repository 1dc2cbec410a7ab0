// out [cols, rows] = a [rows, cols] transposed, by tiles that pass through workgroup memory.
struct Params { aAt: u32, outAt: u32, rows: u32, cols: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
var<workgroup> tile: array<array<f32, 17>, 16>;
@compute @workgroup_size(16, 16)
fn main(@builtin(local_invocation_id) lane: vec3u, @builtin(workgroup_id) group: vec3u) {
  let row = group.y * 16u + lane.y;
  let col = group.x * 16u + lane.x;
  if (row < p.rows && col < p.cols) { tile[lane.y][lane.x] = a[p.aAt + row * p.cols + col]; }
  workgroupBarrier();
  let outRow = group.x * 16u + lane.y;
  let outCol = group.y * 16u + lane.x;
  if (outRow < p.cols && outCol < p.rows) {
    out[p.outAt + outRow * p.rows + outCol] = tile[lane.x][lane.y];
  }
}
