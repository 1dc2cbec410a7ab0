// out = 0 for the scores that their threshold lets go, 1 for the others. A threshold serves `period`
// scores; the next one stands `pitch` words later.
struct Params {
  scoresAt: u32, thresholdsAt: u32, outAt: u32,
  size: u32, period: u32, pitch: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> scores: array<u32>;
@group(0) @binding(2) var<storage, read> thresholds: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<u32>;
//: include score-key
fn byteAt(i: u32) -> u32 {
  let first = p.thresholdsAt + (i / p.period) * p.pitch;
  let threshold = Threshold(thresholds[first], thresholds[first + 1u]);
  return select(1u, 0u, goes(keyOf(scores[p.scoresAt + i]), i % p.period, threshold));
}
//: include bytes
