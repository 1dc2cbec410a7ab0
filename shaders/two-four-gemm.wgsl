// out [tokens, rows] = x [tokens, 4 groups] Wᵀ + bias, W 2:4-sparse in compressed form. A workgroup makes
// 64 tokens of 64 rows with 16 x 16 threads of 4 x 4 elements each. A step takes eight groups, whose
// codes are one word.
struct Params {
  xAt: u32, valuesAt: u32, codesAt: u32, biasAt: u32, outAt: u32,
  tokens: u32, rows: u32, groups: u32, words: u32, hasBias: u32, pitch: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
//: include half-pairs
@group(0) @binding(3) var<storage, read> codes: array<u32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;
const PITCH: u32 = 17u;
// What a step needs: 32 columns of 64 tokens, and of 64 rows 8 pairs of values and their codes.
var<workgroup> xTile: array<vec4f, 32u * PITCH>;
var<workgroup> pairs: array<array<vec2f, 9>, 64>;
var<workgroup> words: array<u32, 64>;
@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u) {
  let row0 = group.x * 64u;
  let token0 = group.y * 64u;
  let tokenQuad = lane % 16u;
  let rowQuad = lane / 16u;
  let cols = p.groups * 4u;
  // One vector of four tokens for each row.
  var acc: array<vec4f, 4>;
  for (var g0 = 0u; g0 < p.groups; g0 += 8u) {
    for (var i = lane; i < 64u * 32u; i += 256u) {
      let token = i / 32u;
      let col = i % 32u;
      var value = 0.0;
      if (token0 + token < p.tokens && g0 * 4u + col < cols) {
        value = x[p.xAt + (token0 + token) * cols + g0 * 4u + col];
      }
      xTile[col * PITCH + token / 4u][token % 4u] = value;
    }
    for (var i = lane; i < 64u * 8u; i += 256u) {
      let row = i / 8u;
      let g = i % 8u;
      var pair = vec2f();
      if (row0 + row < p.rows && g0 + g < p.groups) {
        pair = pairAt(p.valuesAt / 2u + (row0 + row) * p.groups + g0 + g);
      }
      pairs[row][g] = pair;
    }
    if (lane < 64u) {
      var word = 0u;
      if (row0 + lane < p.rows) { word = codes[p.codesAt + (row0 + lane) * p.words + g0 / 8u]; }
      words[lane] = word;
    }
    workgroupBarrier();
    for (var r = 0u; r < 4u; r++) {
      let row = rowQuad * 4u + r;
      var word = words[row];
      for (var g = 0u; g < 8u; g++) {
        let pair = pairs[row][g];
        let at = g * 4u * PITCH + tokenQuad;
        acc[r] += pair.x * xTile[at + (word & 3u) * PITCH];
        acc[r] += pair.y * xTile[at + ((word >> 2u) & 3u) * PITCH];
        word >>= 4u;
      }
    }
    workgroupBarrier();
  }
  for (var r = 0u; r < 4u; r++) {
    let row = row0 + rowQuad * 4u + r;
    if (row >= p.rows) { continue; }
    var added = 0.0;
    if (p.hasBias != 0u) { added = bias[p.biasAt + row]; }
    for (var t = 0u; t < 4u; t++) {
      let token = token0 + tokenQuad * 4u + t;
      if (token < p.tokens) { out[p.outAt + token * p.pitch + row] = acc[r][t] + added; }
    }
  }
}
