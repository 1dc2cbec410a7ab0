// out [cols] = the sum of a * b over each column; with ACCUMULATE it is added to out. A workgroup takes
// 16 columns, 16 rows at a time.
struct Params { aAt: u32, bAt: u32, outAt: u32, rows: u32, cols: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
var<workgroup> partial: array<array<vec2f, 16>, 16>;
//: include double-float
@compute @workgroup_size(16, 16)
fn main(@builtin(local_invocation_id) lane: vec3u, @builtin(workgroup_id) group: vec3u) {
  let col = group.x * 16u + lane.x;
  var sum = vec2f();
  if (col < p.cols) {
    for (var row = lane.y; row < p.rows; row += 16u) {
      let at = row * p.cols + col;
      sum = addDouble(sum, twoProduct(a[p.aAt + at], b[p.bAt + at]));
    }
  }
  partial[lane.y][lane.x] = sum;
  workgroupBarrier();
  if (lane.y > 0u || col >= p.cols) { return; }
//: if ACCUMULATE
  var total = vec2f(out[p.outAt + col], 0.0);
//: else
  var total = vec2f();
//: end
  for (var i = 0u; i < 16u; i++) { total = addDouble(total, partial[i][lane.x]); }
  out[p.outAt + col] = total.x + total.y;
}
