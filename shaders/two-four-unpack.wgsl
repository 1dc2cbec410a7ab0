// The inverse of two-four-pack. One thread a group.
struct Params { valuesAt: u32, indicesAt: u32, wAt: u32, groups: u32, bytes: u32, size: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> values: array<u32>;
@group(0) @binding(2) var<storage, read> indices: array<u32>;
@group(0) @binding(3) var<storage, read_write> w: array<u32>;
//: include thread-index
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let flat = threadIndex(id, groups);
  if (flat >= p.size) { return; }
  let g = flat % p.groups;
  let at = p.indicesAt + (flat / p.groups) * p.bytes + g / 2u;
  let code = indices[at / 4u] >> (8u * (at % 4u) + 4u * (g % 2u));
  for (var i = 0u; i < 4u; i++) {
    var bits = 0u;
    if (i == (code & 3u)) { bits = values[p.valuesAt + flat * 2u]; }
    if (i == ((code >> 2u) & 3u)) { bits = values[p.valuesAt + flat * 2u + 1u]; }
    w[p.wAt + flat * 4u + i] = bits;
  }
}
