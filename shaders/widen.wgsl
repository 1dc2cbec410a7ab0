// f16 or bf16 bits, two in a word, as float32 bits. Exact, also for NaN payloads and subnormals.
struct Params { fromAt: u32, toAt: u32, size: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> halves: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
//: include thread-index
fn widened(half: u32) -> u32 {
//: if BRAIN
  return half << 16u;
//: else
  let sign = (half & 0x8000u) << 16u;
  let exponent = (half >> 10u) & 31u;
  let fraction = half & 1023u;
  if (exponent == 31u) { return sign | 0x7f800000u | (fraction << 13u); }
  if (exponent > 0u) { return sign | ((exponent + 112u) << 23u) | (fraction << 13u); }
  if (fraction == 0u) { return sign; }
  let top = firstLeadingBit(fraction);
  return sign | ((top + 103u) << 23u) | ((fraction << (23u - top)) & 0x7fffffu);
//: end
}
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = threadIndex(id, groups);
  if (i >= p.size) { return; }
  let at = p.fromAt + i;
  out[p.toAt + i] = widened((halves[at / 2u] >> (16u * (at % 2u))) & 0xffffu);
}
