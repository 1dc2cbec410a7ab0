// out [rows, cols] = the mask whose bits are in `kept` [rows, strips]. Each block of `block` columns is
// cut into `ofBlock` strips of `strip` columns.
struct Params {
  keptAt: u32, outAt: u32,
  size: u32, cols: u32, block: u32, strip: u32, ofBlock: u32, strips: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> kept: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
fn byteAt(i: u32) -> u32 {
  let row = i / p.cols;
  let col = i % p.cols;
  let inner = col % p.block;
  let strip = (col / p.block) * p.ofBlock + inner / p.strip;
  return (kept[p.keptAt + row * p.strips + strip] >> (inner % p.strip)) & 1u;
}
//: include bytes
