// mask = 0 for the scores that their threshold lets go, 1 for the others; a threshold, `pitch` words from
// the next, serves `period` scores. One thread for each word of four mask bytes.
struct Params {
  scoresAt: u32, thresholdsAt: u32, maskAt: u32,
  size: u32, period: u32, pitch: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> scores: array<u32>;
@group(0) @binding(2) var<storage, read> thresholds: array<u32>;
@group(0) @binding(3) var<storage, read_write> mask: array<u32>;
//: include thread-index
//: include score-key
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
    let first = p.thresholdsAt + (i / p.period) * p.pitch;
    let threshold = Threshold(thresholds[first], thresholds[first + 1u]);
    let isGone = goes(keyOf(scores[p.scoresAt + i]), i % p.period, threshold);
    kept = (kept & ~(255u << (8u * b))) | (select(1u, 0u, isGone) << (8u * b));
  }
  mask[word] = kept;
}
