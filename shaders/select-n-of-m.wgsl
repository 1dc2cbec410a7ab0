// out = 1 for a score that is larger than at least `drop` others of its group of `of_`, 0 otherwise. An
// equal score that comes first counts as smaller.
struct Params { scoresAt: u32, outAt: u32, size: u32, drop: u32, of_: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> scores: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
//: include score-key
fn keyAt(i: u32) -> u32 { return keyOf(scores[p.scoresAt + i]); }
fn byteAt(i: u32) -> u32 {
  let start = i - i % p.of_;
  let key = keyAt(i);
  var smaller = 0u;
  for (var j = start; j < start + p.of_; j++) {
    let other = keyAt(j);
    if (other < key || (other == key && j < i)) { smaller++; }
  }
  return select(0u, 1u, smaller >= p.drop);
}
//: include bytes
