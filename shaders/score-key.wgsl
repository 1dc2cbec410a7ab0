// Maps the bits of scores to integers that have the order of the scores. NaN is as high as infinity, and
// -0 equals 0.
fn keyOf(score: u32) -> u32 {
  var bits = score;
  if ((bits & 0x7fffffffu) > 0x7f800000u) { bits = 0x7f800000u; }
  if (bits == 0x80000000u) { bits = 0u; }
  return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}
// The result of a selection. A score goes when its key is below `key`, or when it equals `key` and the score
// comes before element `end`.
struct Threshold { key: u32, end: u32 }
fn goes(key: u32, i: u32, threshold: Threshold) -> bool {
  return key < threshold.key || (key == threshold.key && i < threshold.end);
}
