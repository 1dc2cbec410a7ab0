// w [rows, 4 groups] into values and group codes. One thread for each word of the codes, which may
// begin and end within a word; `found` gets the first group with more than two non-zeros.
struct Params {
  wAt: u32, valuesAt: u32, indicesAt: u32, foundAt: u32,
  groups: u32, bytes: u32, size: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var<storage, read_write> values: array<u32>;
@group(0) @binding(3) var<storage, read_write> indices: array<u32>;
@group(0) @binding(4) var<storage, read_write> found: array<atomic<u32>>;
//: include thread-index
// The lower slot's column, and four times the higher one's; missing non-zeros take the lowest zeros.
fn codeOf(taken: u32) -> u32 {
  var chosen = taken;
  for (var i = 0u; countOneBits(chosen) < 2u; i++) { chosen |= 1u << i; }
  return firstTrailingBit(chosen) | (firstLeadingBit(chosen) << 2u);
}
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let word = p.indicesAt / 4u + threadIndex(id, grid);
  let end = p.indicesAt + p.size;
  if (word * 4u >= end) { return; }
  var kept = indices[word];
  for (var b = 0u; b < 4u; b++) {
    let at = word * 4u + b;
    if (at < p.indicesAt || at >= end) { continue; }
    let row = (at - p.indicesAt) / p.bytes;
    var byte = 0u;
    for (var half = 0u; half < 2u; half++) {
      let g = ((at - p.indicesAt) % p.bytes) * 2u + half;
      if (g >= p.groups) { continue; }
      let flat = row * p.groups + g;
      var taken = 0u;
      for (var i = 0u; i < 4u; i++) {
        if ((w[p.wAt + flat * 4u + i] & 0x7fffffffu) != 0u) { taken |= 1u << i; }
      }
      if (countOneBits(taken) > 2u) { atomicMin(&found[p.foundAt], flat); }
      let code = codeOf(taken) & 15u;
      byte |= code << (4u * half);
      values[p.valuesAt + flat * 2u] = w[p.wAt + flat * 4u + (code & 3u)];
      values[p.valuesAt + flat * 2u + 1u] = w[p.wAt + flat * 4u + (code >> 2u)];
    }
    kept = (kept & ~(255u << (8u * b))) | (byte << (8u * b));
  }
  indices[word] = kept;
}
