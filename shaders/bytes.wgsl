// Fills the u8 tensor `out` [p.size] with `byteAt` of each element. One thread writes a word of four
// bytes. Bytes of the first and last word that do not belong to the tensor stay.
//: include thread-index
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let word = p.outAt / 4u + threadIndex(id, groups);
  let end = p.outAt + p.size;
  if (word * 4u >= end) { return; }
  var bytes = out[word];
  for (var b = 0u; b < 4u; b++) {
    let at = word * 4u + b;
    if (at < p.outAt || at >= end) { continue; }
    bytes = (bytes & ~(255u << (8u * b))) | (byteAt(at - p.outAt) << (8u * b));
  }
  out[word] = bytes;
}
