// Copies bytes between any places.
struct Params { fromAt: u32, outAt: u32, size: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> source: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
fn byteAt(i: u32) -> u32 {
  let at = p.fromAt + i;
  return (source[at / 4u] >> (8u * (at % 4u))) & 255u;
}
//: include bytes
