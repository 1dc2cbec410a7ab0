// Counts scores by one digit of 8 bits of their key, or with BY_INDEX of their index. A score counts when
// it agrees with `state` in all higher digits; with BY_INDEX also its key must be the selected one.
struct Params { scoresAt: u32, stateAt: u32, countsAt: u32, size: u32, shift: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> scores: array<u32>;
@group(0) @binding(2) var<storage, read> state: array<u32>;
@group(0) @binding(3) var<storage, read_write> counts: array<atomic<u32>>;
var<workgroup> local: array<atomic<u32>, 256>;
//: include score-key
// Digits above the one that is counted.
fn higher(value: u32) -> u32 {
  if (p.shift == 24u) { return 0u; }
  return value >> (p.shift + 8u);
}
@compute @workgroup_size(256)
fn main(
  @builtin(local_invocation_index) lane: u32,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let key = state[p.stateAt];
  let end = state[p.stateAt + 1u];
  for (var i = group.x * 256u + lane; i < p.size; i += groups.x * 256u) {
    let own = keyOf(scores[p.scoresAt + i]);
//: if BY_INDEX
    if (own == key && higher(i) == higher(end)) { atomicAdd(&local[(i >> p.shift) & 255u], 1u); }
//: else
    if (higher(own) == higher(key)) { atomicAdd(&local[(own >> p.shift) & 255u], 1u); }
//: end
  }
  workgroupBarrier();
  let found = atomicLoad(&local[lane]);
  if (found > 0u) { atomicAdd(&counts[p.countsAt + lane], found); }
}
