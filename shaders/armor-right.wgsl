// out [rows, cols] = x [rows, cols] times block-diagonal B, whose blocks are `right` [cols / b, b, b];
// with TRANSPOSED, times Bᵀ. These are ARMOR's T = S B and dS = V Bᵀ. A thread takes a tile of 4 x 4
// elements.
struct Params { xAt: u32, rightAt: u32, outAt: u32, rows: u32, cols: u32, a: u32, b: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> right: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;
//: include thread-index
//: include armor-tile
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let index = threadIndex(id, groups);
  if (index >= tileCount()) { return; }
  let tile = tileOf(index);
  let width = p.b / 4u;
  let block = tile.col / width;
  let own = tile.col % width;
  let start = p.xAt / 4u + tile.row * (p.cols / 4u) + block * width;
  var sums = mat4x4f();
//: if TRANSPOSED
  var at = p.rightAt / 4u + (block * p.b + own * 4u) * width;
//: else
  var at = p.rightAt / 4u + block * p.b * width + own;
//: end
  for (var k = 0u; k < width; k++) {
    let four = mat4x4f(right[at], right[at + width], right[at + 2u * width], right[at + 3u * width]);
//: if TRANSPOSED
    sums[0] += x[start.x + k] * four;
    sums[1] += x[start.y + k] * four;
    sums[2] += x[start.z + k] * four;
    sums[3] += x[start.w + k] * four;
    at += 1u;
//: else
    sums[0] += four * x[start.x + k];
    sums[1] += four * x[start.y + k];
    sums[2] += four * x[start.z + k];
    sums[3] += four * x[start.w + k];
    at += p.b;
//: end
  }
  for (var r = 0u; r < tile.count; r++) {
    out[p.outAt / 4u + tile.row[r] * (p.cols / 4u) + tile.col] = sums[r];
  }
}
