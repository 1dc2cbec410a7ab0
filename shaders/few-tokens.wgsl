// out [tokens, rows] = x Wᵀ + bias for few tokens. A team of threads reads a row of W once for TOKENS
// tokens. The row has `rowLength` parts: `weightOf` gives one, and `product` multiplies it with a
// token's.
//: include rows
const TOKENS: u32 = $TOKENS;
@compute @workgroup_size(WIDTH)
fn main(
  thread: Thread,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let team = teamOf(thread, group.x);
  let teams = teamsOf(thread, groups.x);
  let first = group.y * TOKENS;
  let length = rowLength();
  // Every team takes the same number of turns, so that all threads reach each sum together.
  let turns = (p.rows + teams - 1u) / teams;
  for (var turn = 0u; turn < turns; turn++) {
    let row = turn * teams + team.first;
    // Without a value some compilers begin with that of the turn before.
    var sums = array<f32, TOKENS>();
    if (row < p.rows) {
      for (var i = team.lane; i < length; i += team.size) {
        let weight = weightOf(row, i);
        for (var t = 0u; t < TOKENS; t++) {
          sums[t] += product(weight, min(first + t, p.tokens - 1u), i);
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
