// mask = 1 for the scores of every `of` that have at least `drop` smaller ones, equals counting as
// smaller when they come first. One thread for each word of four mask bytes.
struct Params { scoresAt: u32, maskAt: u32, size: u32, drop: u32, of_: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> scores: array<u32>;
@group(0) @binding(2) var<storage, read_write> mask: array<u32>;
//: include thread-index
//: include score-key
fn keyAt(i: u32) -> u32 { return keyOf(scores[p.scoresAt + i]); }
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let word = p.maskAt / 4u + threadIndex(id, groups);
  let end = p.maskAt + p.size;
  if (word * 4u >= end) { return; }
  var kept = mask[word];
  for (var b = 0u; b < 4u; b++) {
    let at = word * 4u + b;
    if (at < p.maskAt || at >= end) { continue; }
    let i = at - p.maskAt;
    let start = i - i % p.of_;
    let key = keyAt(i);
    var smaller = 0u;
    for (var j = start; j < start + p.of_; j++) {
      let other = keyAt(j);
      if (other < key || (other == key && j < i)) { smaller++; }
    }
    kept = (kept & ~(255u << (8u * b))) | (select(0u, 1u, smaller >= p.drop) << (8u * b));
  }
  mask[word] = kept;
}
