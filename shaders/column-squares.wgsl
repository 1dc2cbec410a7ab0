// sums [cols] += column sums of squares of x [rows, cols]. 16 rows of 16 columns a workgroup.
struct Params { xAt: u32, sumsAt: u32, rows: u32, cols: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;
var<workgroup> partial: array<array<vec2f, 16>, 16>;
//: include double-float
@compute @workgroup_size(16, 16)
fn main(@builtin(local_invocation_id) lane: vec3u, @builtin(workgroup_id) group: vec3u) {
  let col = group.x * 16u + lane.x;
  var sum = vec2f();
  if (col < p.cols) {
    for (var row = lane.y; row < p.rows; row += 16u) {
      let value = x[p.xAt + row * p.cols + col];
      sum = addDouble(sum, twoProduct(value, value));
    }
  }
  partial[lane.y][lane.x] = sum;
  workgroupBarrier();
  if (lane.y > 0u || col >= p.cols) { return; }
  var total = vec2f(sums[p.sumsAt + col], 0.0);
  for (var i = 0u; i < 16u; i++) { total = addDouble(total, partial[i][lane.x]); }
  sums[p.sumsAt + col] = total.x + total.y;
}
