// Packs w [rows, 4 groups]: the kept values go to `values`, the groups' codes to `out`, whose rows are
// `bytes` long. `found` gets the first group with more than two non-zeros.
struct Params {
  wAt: u32, valuesAt: u32, outAt: u32, foundAt: u32,
  groups: u32, bytes: u32, size: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var<storage, read_write> values: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<u32>;
@group(0) @binding(4) var<storage, read_write> found: array<atomic<u32>>;
// A group's code: its lower kept column plus four times its higher one. Where non-zeros are missing, the
// first zeros are kept.
fn codeOf(taken: u32) -> u32 {
  var chosen = taken;
  for (var i = 0u; countOneBits(chosen) < 2u; i++) { chosen |= 1u << i; }
  return firstTrailingBit(chosen) | (firstLeadingBit(chosen) << 2u);
}
// The codes of two groups. Their values are stored as well.
fn byteAt(at: u32) -> u32 {
  var byte = 0u;
  for (var half = 0u; half < 2u; half++) {
    let g = (at % p.bytes) * 2u + half;
    if (g >= p.groups) { continue; }
    let flat = (at / p.bytes) * p.groups + g;
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
  return byte;
}
//: include bytes
