// ARMOR's products of block-diagonal A, whose blocks are `left` [rows / a, a, a], with x [rows, cols].
// out [rows, cols] = A x minus `by` [rows, cols]: the errors E = A T - W̄. With TRANSPOSED, out = Aᵀ x,
// its column j times by[j]: V = 2 Aᵀ E diag(w). A thread takes a tile of 4 x 4 elements.
struct Params { leftAt: u32, xAt: u32, byAt: u32, outAt: u32, rows: u32, cols: u32, a: u32, b: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> left: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<vec4f>;
@group(0) @binding(3) var<storage, read> by: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;
//: include thread-index
//: include armor-tile
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let index = threadIndex(id, groups);
  if (index >= tileCount()) { return; }
  let tile = tileOf(index);
  let cols = p.cols / 4u;
  var start = p.xAt / 4u + tile.block * p.a * cols + tile.col;
//: if TRANSPOSED
  var at = p.leftAt + tile.block * p.a * p.a + tile.row - tile.block * p.a;
  let step = p.a;
//: else
  var at = p.leftAt + tile.row * p.a;
  let step = 1u;
//: end
  var sums = mat4x4f();
  for (var k = 0u; k < p.a; k++) {
    let value = x[start];
    sums[0] += left[at.x] * value;
    sums[1] += left[at.y] * value;
    sums[2] += left[at.z] * value;
    sums[3] += left[at.w] * value;
    at += step;
    start += cols;
  }
  for (var r = 0u; r < tile.count; r++) {
    let place = tile.row[r] * cols + tile.col;
//: if TRANSPOSED
    out[p.outAt / 4u + place] = sums[r] * by[p.byAt / 4u + tile.col];
//: else
    out[p.outAt / 4u + place] = sums[r] - by[p.byAt / 4u + place];
//: end
  }
}
