// float32 bits rounded to f16 or bf16, ties to even. One thread for each word of two results.
struct Params { fromAt: u32, toAt: u32, size: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
//: include thread-index
fn narrowed(bits: u32) -> u32 {
  let sign = (bits >> 16u) & 0x8000u;
  let magnitude = bits & 0x7fffffffu;
//: if BRAIN
  if (magnitude > 0x7f800000u) { return (bits >> 16u) | 0x40u; }
  return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
//: else
  if (magnitude > 0x7f800000u) { return sign | 0x7e00u; }
  // From halfway between 65504 and 65536 on, the result is infinite.
  if (magnitude >= 0x477ff000u) { return sign | 0x7c00u; }
  if (magnitude >= 0x38800000u) {
    return sign | ((magnitude + 0xfffu + ((magnitude >> 13u) & 1u) - 0x38000000u) >> 13u);
  }
  // A subnormal is a number of units of 2^-24. What is less than half a unit becomes 0.
  let exponent = magnitude >> 23u;
  if (exponent < 102u) { return sign; }
  let whole = (magnitude & 0x7fffffu) | 0x800000u;
  let shift = 126u - exponent;
  let units = whole >> shift;
  let rest = whole & ((1u << shift) - 1u);
  let middle = 1u << (shift - 1u);
  let up = rest > middle || (rest == middle && (units & 1u) == 1u);
  return sign | (units + select(0u, 1u, up));
//: end
}
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let word = p.toAt / 2u + threadIndex(id, groups);
  let end = p.toAt + p.size;
  if (word * 2u >= end) { return; }
  var kept = out[word];
  for (var h = 0u; h < 2u; h++) {
    let at = word * 2u + h;
    if (at < p.toAt || at >= end) { continue; }
    let half = narrowed(x[p.fromAt + at - p.toAt]) & 0xffffu;
    kept = (kept & ~(0xffffu << (16u * h))) | (half << (16u * h));
  }
  out[word] = kept;
}
