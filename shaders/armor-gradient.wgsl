// ARMOR's derivatives by a block-diagonal factor. With LEFT the factor is A [rows / a, a, a]: each block
// gets 2 E diag(w) Tᵀ of its rows, where x is E, y is T [rows, cols] and weights are 2 w [cols].
// Otherwise it is B [cols / b, b, b]: each block gets Sᵀ V of its columns, where x is S and y is V. Eight
// threads share the sum of a tile of 4 x 4 elements.
struct Params {
  xAt: u32, yAt: u32,
//: if LEFT
  weightsAt: u32,
//: end
  outAt: u32, rows: u32, cols: u32, size: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> y: array<vec4f>;
//: if LEFT
@group(0) @binding(3) var<storage, read> weights: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
//: else
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
//: end
const SHARES: u32 = 8u;
var<workgroup> parts: array<mat4x4f, 64>;
@compute @workgroup_size(64)
fn main(
  @builtin(local_invocation_index) lane: u32,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let cols = p.cols / 4u;
  let fours = (p.size + 3u) / 4u;
  // Neighbouring threads read neighbouring columns.
//: if LEFT
  let share = lane % SHARES;
  let local = lane / SHARES;
  let blocks = p.rows / p.size;
//: else
  let share = lane / SHARES;
  let local = lane % SHARES;
  let blocks = p.cols / p.size;
//: end
  let tile = (group.y * groups.x + group.x) * (64u / SHARES) + local;
  let isTile = tile < blocks * fours * fours;
  let block = tile / (fours * fours);
  let i = tile / fours % fours * 4u;
  let j = tile % fours * 4u;
  var sums = mat4x4f();
//: if LEFT
  let most = vec4u(p.size - 1u);
  let xs = p.xAt / 4u + (block * p.size + min(i + vec4u(0u, 1u, 2u, 3u), most)) * cols;
  let ys = p.yAt / 4u + (block * p.size + min(j + vec4u(0u, 1u, 2u, 3u), most)) * cols;
  for (var k = share; isTile && k < cols; k += SHARES) {
    let weight = weights[p.weightsAt / 4u + k];
    let four = mat4x4f(y[ys.x + k], y[ys.y + k], y[ys.z + k], y[ys.w + k]);
    sums[0] += (x[xs.x + k] * weight) * four;
    sums[1] += (x[xs.y + k] * weight) * four;
    sums[2] += (x[xs.z + k] * weight) * four;
    sums[3] += (x[xs.w + k] * weight) * four;
  }
//: else
  let first = (block * p.size) / 4u;
  for (var k = share; isTile && k < p.rows; k += SHARES) {
    let s = x[p.xAt / 4u + k * cols + first + i / 4u];
    let v = y[p.yAt / 4u + k * cols + first + j / 4u];
    sums[0] += s.x * v;
    sums[1] += s.y * v;
    sums[2] += s.z * v;
    sums[3] += s.w * v;
  }
//: end
  parts[lane] = sums;
  workgroupBarrier();
  let row = i + share;
  if (!isTile || share >= 4u || row >= p.size) { return; }
  var sum = vec4f();
  for (var s = 0u; s < SHARES; s++) {
//: if LEFT
    sum += parts[local * SHARES + s][share];
//: else
    sum += parts[s * SHARES + local][share];
//: end
  }
  let at = p.outAt + (block * p.size + row) * p.size + j;
  for (var c = 0u; c < min(4u, p.size - j); c++) { out[at + c] = sum[c]; }
}
