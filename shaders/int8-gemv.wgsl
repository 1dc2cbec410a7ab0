// out [tokens, rows] = x Wᵀ + bias for few tokens, x as int8-tokens leaves it and W on a grid. A workgroup
// takes ROWS rows for TOKENS tokens, and each of its threads a run of every WIDTH. What runs give is added
// in their order.
struct Params {
  xAt: u32, codesAt: u32, scalesAt: u32, zerosAt: u32, biasAt: u32, outAt: u32,
  k: u32, groups: u32, runsAGroup: u32, zero: i32, hasZeros: u32,
  tokens: u32, rows: u32, hasBias: u32, pitch: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4u>;
@group(0) @binding(2) var<storage, read> codes: array<vec4u>;
@group(0) @binding(3) var<storage, read> scales: array<f32>;
@group(0) @binding(4) var<storage, read> zeros: array<u32>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;
//: include grid-zeros
//: include dot4
const TOKENS: u32 = $TOKENS;
const ROWS: u32 = $ROWS;
const WIDTH: u32 = 64u;
// One more, so that the sums of different rows start in different banks.
const PITCH: u32 = WIDTH + 1u;
var<workgroup> terms: array<f32, PITCH * ROWS * TOKENS>;
struct Run { left: vec4u, right: vec4u }
// The codes of a run as bytes, in the order of a token's.
fn codesOf(row: u32, run: u32, runs: u32) -> Run {
//: if NIBBLES
  let words = codes[p.codesAt / 4u + row * runs + run];
  let even = words & vec4u(0x0f0f0f0fu);
  let odd = (words >> vec4u(4u)) & vec4u(0x0f0f0f0fu);
  return Run(vec4u(even.x, odd.x, even.y, odd.y), vec4u(even.z, odd.z, even.w, odd.w));
//: else
  let at = p.codesAt / 4u + (row * runs + run) * 2u;
  return Run(codes[at], codes[at + 1u]);
//: end
}
fn dotOf(a: vec4u, b: vec4u) -> i32 {
  return dot4(a.x, b.x) + dot4(a.y, b.y) + dot4(a.z, b.z) + dot4(a.w, b.w);
}
@compute @workgroup_size(WIDTH)
fn main(
  @builtin(local_invocation_index) lane: u32,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let first = group.y * TOKENS;
  let runs = (p.k + 31u) / 32u;
  let turns = (p.rows + groups.x * ROWS - 1u) / (groups.x * ROWS);
  for (var turn = 0u; turn < turns; turn++) {
    let row = (turn * groups.x + group.x) * ROWS;
    // That of one row and token, of the first threads.
    var sum = 0.0;
    for (var start = 0u; start < runs; start += WIDTH) {
      let run = start + lane;
      if (run < runs && row < p.rows) {
        var left: array<vec4u, TOKENS>;
        var right: array<vec4u, TOKENS>;
        var facts: array<vec4u, TOKENS>;
        for (var t = 0u; t < TOKENS; t++) {
          let at = p.xAt / 4u + (min(first + t, p.tokens - 1u) * runs + run) * 3u;
          left[t] = x[at];
          right[t] = x[at + 1u];
          facts[t] = x[at + 2u];
        }
        for (var r = 0u; r < ROWS; r++) {
          let own = min(row + r, p.rows - 1u);
          let given = codesOf(own, run, runs);
          let place = groupOf(own, run);
          let scale = scales[p.scalesAt + place];
          let zero = zeroOf(place);
          for (var t = 0u; t < TOKENS; t++) {
            let sumOfRun = dotOf(left[t], given.left) + dotOf(right[t], given.right) -
              zero * bitcast<i32>(facts[t].y);
            terms[(r * TOKENS + t) * PITCH + lane] =
              f32(sumOfRun) * (scale * bitcast<f32>(facts[t].x));
          }
        }
      }
      workgroupBarrier();
      if (lane < ROWS * TOKENS) {
        for (var i = 0u; i < min(WIDTH, runs - start); i++) { sum += terms[lane * PITCH + i]; }
      }
      workgroupBarrier();
    }
    let own = row + lane / TOKENS;
    let token = first + lane % TOKENS;
    if (lane < ROWS * TOKENS && own < p.rows && token < p.tokens) {
      if (p.hasBias != 0u) { sum += bias[p.biasAt + own]; }
      out[p.outAt + token * p.pitch + own] = sum;
    }
  }
}
