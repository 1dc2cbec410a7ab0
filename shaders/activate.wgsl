// out = f(x), elementwise.
struct Params { xAt: u32, outAt: u32, size: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
//: include thread-index
//: if NORMAL
//: include exp
//: include gelu
//: end
//: if TANH
//: include exp
//: include gelu-tanh
//: end
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = threadIndex(id, groups);
  if (i >= p.size) { return; }
  let value = x[p.xAt + i];
//: if NORMAL
  out[p.outAt + i] = gelu(value);
//: else
//: if TANH
  out[p.outAt + i] = geluTanh(value);
//: else
  out[p.outAt + i] = select(value, 0.0, value < 0.0);
//: end
//: end
}
