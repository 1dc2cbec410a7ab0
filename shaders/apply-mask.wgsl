// w = 0 where mask is 0. Bits are written, so that NaN goes as well.
struct Params { maskAt: u32, wAt: u32, size: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> mask: array<u32>;
@group(0) @binding(2) var<storage, read_write> w: array<u32>;
//: include thread-index
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = threadIndex(id, groups);
  if (i >= p.size) { return; }
  let at = p.maskAt + i;
  if (((mask[at / 4u] >> (8u * (at % 4u))) & 255u) == 0u) { w[p.wAt + i] = 0u; }
}
