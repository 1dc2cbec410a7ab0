// Each workgroup writes one partial result as two float32: the sum of products of two tensors, or with
// COUNT the number of elements that are NaN or infinite.
struct Params { xAt: u32, yAt: u32, outAt: u32, size: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read> y: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
var<workgroup> partial: array<vec2f, 256>;
//: include double-float
@compute @workgroup_size(256)
fn main(
  @builtin(local_invocation_index) lane: u32,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  var sum = vec2f();
  for (var i = group.x * 256u + lane; i < p.size; i += groups.x * 256u) {
    let bits = x[p.xAt + i];
//: if COUNT
    if ((bits & 0x7f800000u) == 0x7f800000u) { sum.x += 1.0; }
//: else
    sum = addDouble(sum, twoProduct(bitcast<f32>(bits), bitcast<f32>(y[p.yAt + i])));
//: end
  }
  partial[lane] = sum;
  workgroupBarrier();
  for (var width = 128u; width > 0u; width /= 2u) {
    if (lane < width) { partial[lane] = addDouble(partial[lane], partial[lane + width]); }
    workgroupBarrier();
  }
  if (lane == 0u) {
    out[p.outAt + group.x * 2u] = partial[0].x;
    out[p.outAt + group.x * 2u + 1u] = partial[0].y;
  }
}
