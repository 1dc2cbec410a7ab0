// mask [rows, cols] from the bits of `kept` [rows, strips], blocks of `block` columns being cut into
// `ofBlock` strips of `strip` columns. One thread for each word of four mask bytes.
struct Params {
  keptAt: u32, maskAt: u32,
  size: u32, cols: u32, block: u32, strip: u32, ofBlock: u32, strips: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> kept: array<u32>;
@group(0) @binding(2) var<storage, read_write> mask: array<u32>;
//: include thread-index
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let word = p.maskAt / 4u + threadIndex(id, groups);
  let end = p.maskAt + p.size;
  if (word * 4u >= end) { return; }
  var bytes = mask[word];
  for (var b = 0u; b < 4u; b++) {
    let at = word * 4u + b;
    if (at < p.maskAt || at >= end) { continue; }
    let row = (at - p.maskAt) / p.cols;
    let col = (at - p.maskAt) % p.cols;
    let inner = col % p.block;
    let strip = (col / p.block) * p.ofBlock + inner / p.strip;
    let bit = (kept[p.keptAt + row * p.strips + strip] >> (inner % p.strip)) & 1u;
    bytes = (bytes & ~(255u << (8u * b))) | (bit << (8u * b));
  }
  mask[word] = bytes;
}
