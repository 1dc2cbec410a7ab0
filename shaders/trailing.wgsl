// out -= A B, or with TRANSPOSE_B A Bᵀ, for parts of larger matrices: A [m, k], B and out begin at a
// given element of a matrix whose rows have a given length. With LOWER only elements on and below out's
// diagonal change. A workgroup makes a tile of 64 x 64 with 16 x 16 threads of 4 x 4 elements each, in
// steps of 16 along k.
struct Params {
  aAt: u32, bAt: u32, outAt: u32,
  m: u32, n: u32, k: u32,
  aStart: u32, aCols: u32, bStart: u32, bCols: u32, outStart: u32, outCols: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
const TILE: u32 = 64u;
const DEPTH: u32 = 16u;
// The fours of a step's row, and one more, so that columns of a tile start in different banks.
const PITCH: u32 = 17u;
var<workgroup> aTile: array<vec4f, DEPTH * PITCH>;
var<workgroup> bTile: array<vec4f, DEPTH * PITCH>;
@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u) {
  let row0 = group.y * TILE;
  let col0 = group.x * TILE;
//: if LOWER
  if (col0 > row0) { return; }
//: end
  let ty = lane / 16u;
  let tx = lane % 16u;
  let aFrom = p.aAt + p.aStart;
  let bFrom = p.bAt + p.bStart;
  var acc: array<vec4f, 4>;
  for (var k0 = 0u; k0 < p.k; k0 += DEPTH) {
    for (var i = lane; i < TILE * DEPTH; i += 256u) {
      let at = i / DEPTH;
      let step = i % DEPTH;
      var value = 0.0;
      if (row0 + at < p.m && k0 + step < p.k) {
        value = a[aFrom + (row0 + at) * p.aCols + k0 + step];
      }
      aTile[step * PITCH + at / 4u][at % 4u] = value;
    }
    for (var i = lane; i < TILE * DEPTH; i += 256u) {
//: if TRANSPOSE_B
      let at = i / DEPTH;
      let step = i % DEPTH;
//: else
      let at = i % TILE;
      let step = i / TILE;
//: end
      var value = 0.0;
      if (col0 + at < p.n && k0 + step < p.k) {
//: if TRANSPOSE_B
        value = b[bFrom + (col0 + at) * p.bCols + k0 + step];
//: else
        value = b[bFrom + (k0 + step) * p.bCols + col0 + at];
//: end
      }
      bTile[step * PITCH + at / 4u][at % 4u] = value;
    }
    workgroupBarrier();
    for (var step = 0u; step < DEPTH; step++) {
      let left = aTile[step * PITCH + ty];
      let right = bTile[step * PITCH + tx];
      acc[0] += left.x * right;
      acc[1] += left.y * right;
      acc[2] += left.z * right;
      acc[3] += left.w * right;
    }
    workgroupBarrier();
  }
  for (var r = 0u; r < 4u; r++) {
    let row = row0 + ty * 4u + r;
    if (row >= p.m) { continue; }
    for (var c = 0u; c < 4u; c++) {
      let col = col0 + tx * 4u + c;
      if (col >= p.n) { continue; }
//: if LOWER
      if (col > row) { continue; }
//: end
      out[p.outAt + p.outStart + row * p.outCols + col] -= acc[r][c];
    }
  }
}
