// Copies bytes between any places. One thread for each word of the target; bytes beside the target
// stay what they are.
struct Params { fromAt: u32, toAt: u32, bytes: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> source: array<u32>;
@group(0) @binding(2) var<storage, read_write> target_: array<u32>;
//: include thread-index
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let word = p.toAt / 4u + threadIndex(id, groups);
  let end = p.toAt + p.bytes;
  if (word * 4u >= end) { return; }
  var value = target_[word];
  for (var k = 0u; k < 4u; k++) {
    let byte = word * 4u + k;
    if (byte < p.toAt || byte >= end) { continue; }
    let at = byte - p.toAt + p.fromAt;
    let bits = (source[at / 4u] >> (8u * (at % 4u))) & 255u;
    value = (value & ~(255u << (8u * k))) | (bits << (8u * k));
  }
  target_[word] = value;
}
