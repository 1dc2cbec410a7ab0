// out = f(a, b), elementwise.
struct Params { aAt: u32, bAt: u32, outAt: u32, size: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
//: include thread-index
//: if SWIGLU
//: include exp
//: end
//: if GEGLU
//: include exp
//: include gelu-tanh
//: end
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = threadIndex(id, groups);
  if (i >= p.size) { return; }
  let x = a[p.aAt + i];
  let y = b[p.bAt + i];
//: if SWIGLU
  out[p.outAt + i] = x / (1.0 + exactExp(-x)) * y;
//: else
//: if GEGLU
  out[p.outAt + i] = geluTanh(x) * y;
//: else
  out[p.outAt + i] = x - y;
//: end
//: end
}
