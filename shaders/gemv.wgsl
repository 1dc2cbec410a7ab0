// out [tokens, n] = x [tokens, k] Wᵀ + bias for few tokens. A team of threads reads a row of W once
// for TOKENS tokens; with QUADS, k and all offsets are multiples of 4; with
// HALF, W holds f16.
struct Params {
  xAt: u32, wAt: u32, biasAt: u32, outAt: u32,
  tokens: u32, n: u32, k: u32, hasBias: u32, pitch: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
//: if QUADS
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
const STEP: u32 = 4u;
fn product(a: vec4f, b: vec4f) -> f32 { return dot(a, b); }
//: else
@group(0) @binding(1) var<storage, read> x: array<f32>;
//: include half-weights
const STEP: u32 = 1u;
fn product(a: f32, b: f32) -> f32 { return a * b; }
//: end
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
const TOKENS: u32 = $TOKENS;
//: include rows
@compute @workgroup_size(WIDTH)
fn main(
  thread: Thread,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let team = teamOf(thread, group.x);
  let teams = teamsOf(thread, groups.x);
  let first = group.y * TOKENS;
  let length = p.k / STEP;
  // As many turns for every team, so that all threads reach each sum together.
  let turns = (p.n + teams - 1u) / teams;
  for (var turn = 0u; turn < turns; turn++) {
    let row = turn * teams + team.first;
    var sums: array<f32, TOKENS>;
    if (row < p.n) {
      for (var i = team.lane; i < length; i += team.size) {
        let weight = weightAt(p.wAt / STEP + row * length + i);
        for (var t = 0u; t < TOKENS; t++) {
          let token = min(first + t, p.tokens - 1u);
          sums[t] += product(weight, x[p.xAt / STEP + token * length + i]);
        }
      }
    }
    for (var t = 0u; t < TOKENS; t++) {
      var total = sumTeam(sums[t], team.lane);
      if (team.lane == 0u && row < p.n && first + t < p.tokens) {
        if (p.hasBias != 0u) { total += bias[p.biasAt + row]; }
        out[p.outAt + (first + t) * p.pitch + row] = total;
      }
    }
  }
}
