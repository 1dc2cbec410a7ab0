// out [tokens, rows] = x [tokens, k] Wᵀ + bias for few tokens. With QUADS, k and all offsets are multiples
// of 4; with HALF, W holds f16.
struct Params {
  xAt: u32, wAt: u32, biasAt: u32, outAt: u32,
  tokens: u32, rows: u32, k: u32, hasBias: u32, pitch: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
//: if QUADS
alias Weight = vec4f;
const STEP: u32 = 4u;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
//: if HALF
//: if F16
@group(0) @binding(2) var<storage, read> w: array<vec4<f16>>;
fn weightAt(i: u32) -> vec4f { return vec4f(w[i]); }
//: else
@group(0) @binding(2) var<storage, read> w: array<vec2u>;
fn weightAt(i: u32) -> vec4f {
  return vec4f(unpack2x16float(w[i].x), unpack2x16float(w[i].y));
}
//: end
//: else
@group(0) @binding(2) var<storage, read> w: array<vec4f>;
fn weightAt(i: u32) -> vec4f { return w[i]; }
//: end
//: else
alias Weight = f32;
const STEP: u32 = 1u;
@group(0) @binding(1) var<storage, read> x: array<f32>;
//: include half-weights
//: end
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
fn rowLength() -> u32 { return p.k / STEP; }
fn weightOf(row: u32, i: u32) -> Weight { return weightAt(p.wAt / STEP + row * rowLength() + i); }
fn product(weight: Weight, token: u32, i: u32) -> f32 {
  let value = x[p.xAt / STEP + token * rowLength() + i];
//: if QUADS
  return dot(weight, value);
//: else
  return weight * value;
//: end
}
//: include few-tokens
