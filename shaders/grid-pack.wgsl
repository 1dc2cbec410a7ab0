// Codes u8 [rows, cols] as rows of whole runs of 32 columns: eight codes of 4 bits in a word with NIBBLES,
// else four of 8, the lowest bits first. `flip` is put into every byte. Behind the last column stands 0.
struct Params { bytesAt: u32, codesAt: u32, cols: u32, words: u32, size: u32, flip: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> bytes: array<u32>;
@group(0) @binding(2) var<storage, read_write> codes: array<u32>;
//: include thread-index
//: if NIBBLES
const BITS: u32 = 4u;
//: else
const BITS: u32 = 8u;
//: end
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = threadIndex(id, groups);
  if (i >= p.size) { return; }
  let row = i / p.words;
  var word = 0u;
  for (var j = 0u; j < 32u / BITS; j++) {
    let col = (i % p.words) * (32u / BITS) + j;
    if (col >= p.cols) { break; }
    let at = p.bytesAt + row * p.cols + col;
    word |= ((bytes[at / 4u] >> (8u * (at % 4u))) & 255u) << (BITS * j);
  }
  codes[p.codesAt + i] = word ^ p.flip;
}
