// thresholds [rows, 2] that let the `wanted` smallest scores of each row go, at least 1. They are found
// by digits of 8 bits: first those of the key, then, among the scores with that key, those of the index.
// One workgroup takes a row.
struct Params { scoresAt: u32, thresholdsAt: u32, rows: u32, cols: u32, wanted: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> scores: array<u32>;
@group(0) @binding(2) var<storage, read_write> thresholds: array<u32>;
var<workgroup> counts: array<atomic<u32>, 256>;
var<workgroup> key: u32;
var<workgroup> end: u32;
var<workgroup> left: u32;
//: include score-key
@compute @workgroup_size(256)
fn main(
  @builtin(local_invocation_index) lane: u32,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let row = group.y * groups.x + group.x;
  if (row >= p.rows) { return; }
  let at = p.scoresAt + row * p.cols;
  if (lane == 0u) { left = p.wanted; }
  for (var digit = 0u; digit < 8u; digit++) {
    let isKey = digit < 4u;
    let shift = 24u - 8u * (digit % 4u);
    // Bits above the digit.
    let mask = select(0xffffffffu << ((shift + 8u) % 32u), 0u, shift == 24u);
    workgroupBarrier();
    for (var i = lane; i < p.cols; i += 256u) {
      let own = keyOf(scores[at + i]);
      let value = select(i, own, isKey);
      let agrees = ((value ^ select(end, key, isKey)) & mask) == 0u;
      if (agrees && (isKey || own == key)) { atomicAdd(&counts[(value >> shift) & 255u], 1u); }
    }
    workgroupBarrier();
    if (lane == 0u) {
      var chosen = 0u;
      for (; chosen < 255u; chosen++) {
        let count = atomicLoad(&counts[chosen]);
        if (count >= left) { break; }
        left -= count;
      }
      if (isKey) { key |= chosen << shift; } else { end |= chosen << shift; }
    }
    workgroupBarrier();
    atomicStore(&counts[lane], 0u);
  }
  if (lane == 0u) {
    thresholds[p.thresholdsAt + row * 2u] = key;
    thresholds[p.thresholdsAt + row * 2u + 1u] = end + 1u;
  }
}
