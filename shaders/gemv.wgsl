// out [tokens, n] = x [tokens, k] Wᵀ + bias for few tokens. A workgroup reads one row of W once for
// TOKENS tokens; with QUADS, k and all offsets are multiples of 4.
struct Params {
  xAt: u32, wAt: u32, biasAt: u32, outAt: u32,
  tokens: u32, n: u32, k: u32, hasBias: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
//: if QUADS
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> w: array<vec4f>;
const STEP: u32 = 4u;
fn product(a: vec4f, b: vec4f) -> f32 { return dot(a, b); }
//: else
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
const STEP: u32 = 1u;
fn product(a: f32, b: f32) -> f32 { return a * b; }
//: end
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
const TOKENS: u32 = $TOKENS;
//: include reduce
//: include lanes
@compute @workgroup_size(WIDTH)
fn main(lane: Lane, place: Place) {
  let row = place.group.y * place.groups.x + place.group.x;
  let first = place.group.z * TOKENS;
  let length = p.k / STEP;
  var sums: array<f32, TOKENS>;
  if (row < p.n) {
    for (var i = lane.index; i < length; i += WIDTH) {
      let weight = w[p.wAt / STEP + row * length + i];
      for (var t = 0u; t < TOKENS; t++) {
        let token = min(first + t, p.tokens - 1u);
        sums[t] += product(weight, x[p.xAt / STEP + token * length + i]);
      }
    }
  }
  for (var t = 0u; t < TOKENS; t++) {
    var total = sumLanes(sums[t], lane);
    if (lane.index == 0u && row < p.n && first + t < p.tokens) {
      if (p.hasBias != 0u) { total += bias[p.biasAt + row]; }
      out[p.outAt + (first + t) * p.n + row] = total;
    }
  }
}
