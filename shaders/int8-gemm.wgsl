// out [tokens, rows] = x Wᵀ + bias, x as int8-tokens leaves it and W on a grid. A workgroup makes 64 tokens of
// 64 rows with 16 x 16 threads of 4 x 4 elements each. A step takes a run of 32 columns, which is eight
// words of bytes. `nothing` is 0, which a compiler does not know: it keeps a product and the sum that it is
// added to from being rounded as one.
struct Params {
  xAt: u32, codesAt: u32, scalesAt: u32, zerosAt: u32, biasAt: u32, outAt: u32,
  k: u32, groups: u32, runsAGroup: u32, zero: i32, hasZeros: u32,
  tokens: u32, rows: u32, hasBias: u32, pitch: u32, nothing: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read> codes: array<u32>;
@group(0) @binding(3) var<storage, read> scales: array<f32>;
@group(0) @binding(4) var<storage, read> zeros: array<u32>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;
//: include grid-zeros
//: include dot4
// The fours of a word's tokens or rows, and one more, so that words start in different banks.
const PITCH: u32 = 17u;
var<workgroup> xTile: array<vec4u, 8u * PITCH>;
var<workgroup> wTile: array<vec4u, 8u * PITCH>;
var<workgroup> xScales: array<vec4f, 16>;
var<workgroup> xSums: array<vec4i, 16>;
var<workgroup> wScales: array<vec4f, 16>;
var<workgroup> wZeros: array<vec4i, 16>;
fn tokenWord(token: u32, run: u32, runs: u32, word: u32) -> u32 {
  if (token >= p.tokens) { return 0u; }
  return x[p.xAt + (token * runs + run) * 12u + word];
}
fn codeWord(row: u32, run: u32, runs: u32, word: u32) -> u32 {
  if (row >= p.rows) { return 0u; }
//: if NIBBLES
  return (codes[p.codesAt + (row * runs + run) * 4u + word / 2u] >> (4u * (word % 2u))) & 0x0f0f0f0fu;
//: else
  return codes[p.codesAt + (row * runs + run) * 8u + word];
//: end
}
fn scaleOf(row: u32, run: u32) -> f32 {
  if (row >= p.rows) { return 0.0; }
  return scales[p.scalesAt + groupOf(row, run)];
}
fn zeroAt(row: u32, run: u32) -> i32 {
  if (row >= p.rows) { return 0; }
  return zeroOf(groupOf(row, run));
}
fn dots(a: u32, b: vec4u) -> vec4i {
  return vec4i(dot4(a, b.x), dot4(a, b.y), dot4(a, b.z), dot4(a, b.w));
}
// What a run adds for a token and four rows.
fn term(sum: vec4i, token: u32, tokenQuad: u32, rowQuad: u32) -> vec4f {
  let whole = vec4f(sum - wZeros[rowQuad] * xSums[tokenQuad][token]);
  let product = whole * (wScales[rowQuad] * xScales[tokenQuad][token]);
  return bitcast<vec4f>(bitcast<vec4u>(product) ^ vec4u(p.nothing));
}
@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u) {
  let row0 = group.x * 64u;
  let token0 = group.y * 64u;
  let tokenQuad = lane / 16u;
  let rowQuad = lane % 16u;
  let runs = (p.k + 31u) / 32u;
  // One vector of four rows for each token.
  var sums: array<vec4f, 4>;
  for (var run = 0u; run < runs; run++) {
    // A thread stores four elements at once: a store of one may touch its neighbours.
    let word = lane % 8u;
    let quad = lane / 8u % 16u;
    if (lane < 128u) {
      let token = token0 + quad * 4u;
      xTile[word * PITCH + quad] = vec4u(
        tokenWord(token, run, runs, word),
        tokenWord(token + 1u, run, runs, word),
        tokenWord(token + 2u, run, runs, word),
        tokenWord(token + 3u, run, runs, word),
      );
    } else {
      let row = row0 + quad * 4u;
      wTile[word * PITCH + quad] = vec4u(
        codeWord(row, run, runs, word),
        codeWord(row + 1u, run, runs, word),
        codeWord(row + 2u, run, runs, word),
        codeWord(row + 3u, run, runs, word),
      );
    }
    if (word == 0u && lane < 128u) {
      let token = token0 + quad * 4u;
      xScales[quad] = bitcast<vec4f>(vec4u(
        tokenWord(token, run, runs, 8u),
        tokenWord(token + 1u, run, runs, 8u),
        tokenWord(token + 2u, run, runs, 8u),
        tokenWord(token + 3u, run, runs, 8u),
      ));
      xSums[quad] = bitcast<vec4i>(vec4u(
        tokenWord(token, run, runs, 9u),
        tokenWord(token + 1u, run, runs, 9u),
        tokenWord(token + 2u, run, runs, 9u),
        tokenWord(token + 3u, run, runs, 9u),
      ));
    }
    if (word == 0u && lane >= 128u) {
      let row = row0 + quad * 4u;
      wScales[quad] =
        vec4f(scaleOf(row, run), scaleOf(row + 1u, run), scaleOf(row + 2u, run), scaleOf(row + 3u, run));
      wZeros[quad] =
        vec4i(zeroAt(row, run), zeroAt(row + 1u, run), zeroAt(row + 2u, run), zeroAt(row + 3u, run));
    }
    workgroupBarrier();
    // Constant indices keep the sums in registers even where loops are not unrolled.
    var a = vec4i();
    var b = vec4i();
    var c = vec4i();
    var d = vec4i();
    for (var w = 0u; w < 8u; w++) {
      let left = xTile[w * PITCH + tokenQuad];
      let right = wTile[w * PITCH + rowQuad];
      a += dots(left.x, right);
      b += dots(left.y, right);
      c += dots(left.z, right);
      d += dots(left.w, right);
    }
    sums[0] += term(a, 0u, tokenQuad, rowQuad);
    sums[1] += term(b, 1u, tokenQuad, rowQuad);
    sums[2] += term(c, 2u, tokenQuad, rowQuad);
    sums[3] += term(d, 3u, tokenQuad, rowQuad);
    workgroupBarrier();
  }
  for (var t = 0u; t < 4u; t++) {
    let token = token0 + tokenQuad * 4u + t;
    if (token >= p.tokens) { continue; }
    for (var r = 0u; r < 4u; r++) {
      let row = row0 + rowQuad * 4u + r;
      if (row >= p.rows) { continue; }
      var value = sums[t][r];
      if (p.hasBias != 0u) { value += bias[p.biasAt + row]; }
      out[p.outAt + token * p.pitch + row] = value;
    }
  }
}
