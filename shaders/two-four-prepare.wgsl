// Copies group codes [rows, bytes] to rows of whole words, which hold eight groups each.
struct Params { indicesAt: u32, codesAt: u32, bytes: u32, words: u32, size: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read_write> codes: array<u32>;
//: include thread-index
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = threadIndex(id, groups);
  if (i >= p.size) { return; }
  let row = i / p.words;
  var word = 0u;
  for (var b = 0u; b < 4u; b++) {
    let byte = (i % p.words) * 4u + b;
    if (byte >= p.bytes) { break; }
    let at = p.indicesAt + row * p.bytes + byte;
    word |= ((indices[at / 4u] >> (8u * (at % 4u))) & 255u) << (8u * b);
  }
  codes[p.codesAt + i] = word;
}
