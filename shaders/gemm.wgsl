// out [m, n] = alpha * A B (+ out, + bias [n]). A and B are read as stored or transposed; B is w below,
// f16 with HALF, or with GRID transposed and on a grid. Rows of out begin `pitch` elements apart. A
// workgroup makes a tile of TILE x TILE with 16 x 16 threads of R x R elements each, in steps of DEPTH
// along k.
struct Params {
//: if GRID
  aAt: u32, codesAt: u32, biasAt: u32, outAt: u32, scalesAt: u32, zerosAt: u32,
//: else
  aAt: u32, bAt: u32, biasAt: u32, outAt: u32,
//: end
  m: u32, n: u32, k: u32, alpha: f32, hasBias: u32, pitch: u32,
//: if GRID
  groups: u32, runsAGroup: u32, zero: i32, hasZeros: u32,
//: end
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
//: if GRID
@group(0) @binding(2) var<storage, read> codes: array<u32>;
@group(0) @binding(5) var<storage, read> scales: array<f32>;
@group(0) @binding(6) var<storage, read> zeros: array<u32>;
//: include grid-weights
//: else
//: include half-weights
//: end
const Q: u32 = $QUADS;
const R: u32 = 4u * Q;
const TILE: u32 = 16u * R;
const DEPTH: u32 = 16u;
// The fours of a step's row, and one more, so that columns of a tile start in different banks.
const PITCH: u32 = TILE / 4u + 1u;
var<workgroup> aTile: array<vec4f, DEPTH * PITCH>;
var<workgroup> bTile: array<vec4f, DEPTH * PITCH>;
fn fromA(row: u32, at: u32) -> f32 {
  if (row >= p.m || at >= p.k) { return 0.0; }
//: if TRANSPOSE_A
  return a[p.aAt + at * p.m + row];
//: else
  return a[p.aAt + row * p.k + at];
//: end
}
fn fromB(at: u32, col: u32) -> f32 {
  if (col >= p.n || at >= p.k) { return 0.0; }
//: if GRID
  return gridWeight(col, at);
//: else
//: if TRANSPOSE_B
  return weightAt(p.bAt + col * p.k + at);
//: else
  return weightAt(p.bAt + at * p.n + col);
//: end
//: end
}
@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u) {
  let row0 = group.y * TILE;
  let col0 = group.x * TILE;
//: if UPPER
  if (row0 >= col0 + TILE) { return; }
//: end
  let ty = lane / 16u;
  let tx = lane % 16u;
  var acc: array<vec4f, R * Q>;
  for (var k0 = 0u; k0 < p.k; k0 += DEPTH) {
    // A thread stores four elements at once: a store of one may touch its neighbours.
    for (var i = lane; i < TILE * DEPTH / 4u; i += 256u) {
//: if TRANSPOSE_A
      let quad = i % (TILE / 4u);
      let step = i / (TILE / 4u);
//: else
      let quad = i / DEPTH;
      let step = i % DEPTH;
//: end
      let row = row0 + quad * 4u;
      let at = k0 + step;
      aTile[step * PITCH + quad] =
        vec4f(fromA(row, at), fromA(row + 1u, at), fromA(row + 2u, at), fromA(row + 3u, at));
    }
    for (var i = lane; i < TILE * DEPTH / 4u; i += 256u) {
//: if TRANSPOSE_B
      let quad = i / DEPTH;
      let step = i % DEPTH;
//: else
      let quad = i % (TILE / 4u);
      let step = i / (TILE / 4u);
//: end
      let col = col0 + quad * 4u;
      let at = k0 + step;
      bTile[step * PITCH + quad] =
        vec4f(fromB(at, col), fromB(at, col + 1u), fromB(at, col + 2u), fromB(at, col + 3u));
    }
    workgroupBarrier();
    for (var step = 0u; step < DEPTH; step++) {
//: if LARGE
      for (var r = 0u; r < Q; r++) {
        let left = aTile[step * PITCH + r * 16u + ty];
        for (var c = 0u; c < Q; c++) {
          let right = bTile[step * PITCH + c * 16u + tx];
          acc[(r * 4u) * Q + c] += left.x * right;
          acc[(r * 4u + 1u) * Q + c] += left.y * right;
          acc[(r * 4u + 2u) * Q + c] += left.z * right;
          acc[(r * 4u + 3u) * Q + c] += left.w * right;
        }
      }
//: else
      // Constant indices keep the sums in registers even where loops are not unrolled.
      let left = aTile[step * PITCH + ty];
      let right = bTile[step * PITCH + tx];
      acc[0] += left.x * right;
      acc[1] += left.y * right;
      acc[2] += left.z * right;
      acc[3] += left.w * right;
//: end
    }
    workgroupBarrier();
  }
  for (var r = 0u; r < R; r++) {
    let row = row0 + (r / 4u) * 64u + ty * 4u + r % 4u;
    if (row >= p.m) { continue; }
    for (var c = 0u; c < R; c++) {
      let col = col0 + (c / 4u) * 64u + tx * 4u + c % 4u;
      if (col >= p.n) { continue; }
//: if UPPER
      if (col < row) { continue; }
//: end
      let at = p.outAt + row * p.pitch + col;
      var value = p.alpha * acc[r * Q + c / 4u][c % 4u];
      if (p.hasBias != 0u) { value += bias[p.biasAt + col]; }
//: if ACCUMULATE
      value += out[at];
//: end
      out[at] = value;
    }
  }
}
