// out [tokens, rows] = x [tokens, 4 groups] Wᵀ + bias for few tokens, W 2:4-sparse: two values and a
// code of two column numbers for each group. A team reads a row of W once for TOKENS tokens.
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
  // As many turns for every team, so that all threads reach each sum together.
  let turns = (p.rows + teams - 1u) / teams;
  for (var turn = 0u; turn < turns; turn++) {
    let row = turn * teams + team.first;
    var sums: array<f32, TOKENS>;
    if (row < p.rows) {
      for (var g = team.lane; g < p.groups; g += team.size) {
        let pair = pairAt(p.valuesAt / 2u + row * p.groups + g);
        let code = codes[p.codesAt + row * p.words + g / 8u] >> (4u * (g % 8u));
        for (var t = 0u; t < TOKENS; t++) {
          let at = p.xAt + (min(first + t, p.tokens - 1u) * p.groups + g) * 4u;
          sums[t] += pair.x * x[at + (code & 3u)] + pair.y * x[at + ((code >> 2u) & 3u)];
        }
      }
    }
    for (var t = 0u; t < TOKENS; t++) {
      var total = sumTeam(sums[t], team.lane);
      if (team.lane == 0u && row < p.rows && first + t < p.tokens) {
        if (p.hasBias != 0u) { total += bias[p.biasAt + row]; }
        out[p.outAt + (first + t) * p.pitch + row] = total;
      }
    }
  }
}
