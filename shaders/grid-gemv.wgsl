// out [tokens, rows] = x [tokens, k] Wᵀ + bias for few tokens, W on a grid. A team of threads reads ROWS
// rows of W once for TOKENS tokens, and each of its threads every `size`-th word of their codes. With QUADS,
// k and the place of x are multiples of 4.
struct Params {
  xAt: u32, codesAt: u32, scalesAt: u32, zerosAt: u32, biasAt: u32, outAt: u32,
  k: u32, groups: u32, runsAGroup: u32, zero: i32, hasZeros: u32,
  tokens: u32, rows: u32, hasBias: u32, pitch: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> codes: array<u32>;
@group(0) @binding(3) var<storage, read> scales: array<f32>;
@group(0) @binding(4) var<storage, read> zeros: array<u32>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;
//: include rows
//: include grid-weights
const TOKENS: u32 = $TOKENS;
const ROWS: u32 = $ROWS;
// Four columns of a token, 0 behind the last.
//: if QUADS
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
fn quadAt(token: u32, col: u32) -> vec4f {
  if (col >= p.k) { return vec4f(); }
  return x[(p.xAt + token * p.k + col) / 4u];
}
//: else
@group(0) @binding(1) var<storage, read> x: array<f32>;
fn elementAt(token: u32, col: u32) -> f32 {
  if (col >= p.k) { return 0.0; }
  return x[p.xAt + token * p.k + col];
}
fn quadAt(token: u32, col: u32) -> vec4f {
  return vec4f(
    elementAt(token, col),
    elementAt(token, col + 1u),
    elementAt(token, col + 2u),
    elementAt(token, col + 3u),
  );
}
//: end
// Four codes less their zero point.
fn quadOf(word: u32, place: u32, zero: i32) -> vec4f {
  let codes = vec4i(
    codeIn(word, place),
    codeIn(word, place + 1u),
    codeIn(word, place + 2u),
    codeIn(word, place + 3u),
  );
  return vec4f(codes - vec4i(zero));
}
@compute @workgroup_size(WIDTH)
fn main(
  thread: Thread,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let team = teamOf(thread, group.x);
  let teams = teamsOf(thread, groups.x);
  let first = group.y * TOKENS;
  let words = (p.k + COLUMNS_A_WORD - 1u) / COLUMNS_A_WORD;
  // Every team takes the same number of turns, so that all threads reach each sum together.
  let turns = (p.rows + teams * ROWS - 1u) / (teams * ROWS);
  for (var turn = 0u; turn < turns; turn++) {
    let row = (turn * teams + team.first) * ROWS;
    // Without a value some compilers begin with that of the turn before.
    var sums = array<f32, ROWS * TOKENS>();
    if (row < p.rows) {
      for (var i = team.lane; i < words; i += team.size) {
        let col = i * COLUMNS_A_WORD;
        var left: array<vec4f, TOKENS>;
//: if NIBBLES
        var right: array<vec4f, TOKENS>;
//: end
        for (var t = 0u; t < TOKENS; t++) {
          let token = min(first + t, p.tokens - 1u);
          left[t] = quadAt(token, col);
//: if NIBBLES
          right[t] = quadAt(token, col + 4u);
//: end
        }
        for (var r = 0u; r < ROWS; r++) {
          let own = min(row + r, p.rows - 1u);
          let word = codes[p.codesAt + own * wordsARow() + i];
          let place = groupOf(own, col / 32u);
          let zero = zeroOf(place);
          let scale = scales[p.scalesAt + place];
          let low = quadOf(word, 0u, zero);
//: if NIBBLES
          let high = quadOf(word, 4u, zero);
//: end
          for (var t = 0u; t < TOKENS; t++) {
            var sum = dot(low, left[t]);
//: if NIBBLES
            sum += dot(high, right[t]);
//: end
            sums[r * TOKENS + t] += sum * scale;
          }
        }
      }
    }
    for (var r = 0u; r < ROWS; r++) {
      for (var t = 0u; t < TOKENS; t++) {
        var total = sumTeam(sums[r * TOKENS + t], team.lane);
        if (team.lane == 0u && row + r < p.rows && first + t < p.tokens) {
          if (p.hasBias != 0u) { total += bias[p.biasAt + row + r]; }
          out[p.outAt + (first + t) * p.pitch + row + r] = total;
        }
      }
    }
  }
}
