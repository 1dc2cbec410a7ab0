// out [tokens, rows] = x [tokens, 4 groups] Wᵀ + bias for few tokens, W 2:4-sparse: two values and a
// code of two column numbers for each group.
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
struct Group { values: vec2f, code: u32 }
fn rowLength() -> u32 { return p.groups; }
fn weightOf(row: u32, g: u32) -> Group {
  let word = codes[p.codesAt + row * p.words + g / 8u];
  return Group(pairAt(p.valuesAt / 2u + row * p.groups + g), word >> (4u * (g % 8u)));
}
fn product(weight: Group, token: u32, g: u32) -> f32 {
  let at = p.xAt + (token * p.groups + g) * 4u;
  let code = weight.code;
  return weight.values.x * x[at + (code & 3u)] + weight.values.y * x[at + ((code >> 2u) & 3u)];
}
//: include few-tokens
