// One step of Adam. The parameters hold the decays of both means, 1 minus each decay, and the corrections
// of the means' early values; the first correction, `rate`, includes the learning rate. With MASKED,
// elements whose mask is 0 keep their values, and their gradients count as 0.
struct Params {
  gradientAt: u32, xAt: u32, firstAt: u32, secondAt: u32,
//: if MASKED
  maskAt: u32,
//: end
  size: u32, scale: f32, decay1: f32, rest1: f32, decay2: f32, rest2: f32, rate: f32, secondMean: f32,
  epsilon: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> first: array<f32>;
@group(0) @binding(4) var<storage, read_write> second: array<f32>;
//: if MASKED
@group(0) @binding(5) var<storage, read> mask: array<u32>;
//: end
//: include thread-index
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = threadIndex(id, groups);
  if (i >= p.size) { return; }
//: if MASKED
  let at = p.maskAt + i;
  let isKept = ((mask[at / 4u] >> (8u * (at % 4u))) & 255u) != 0u;
  let g = select(0.0, p.scale * gradient[p.gradientAt + i], isKept);
//: else
  let g = p.scale * gradient[p.gradientAt + i];
//: end
  let m = p.decay1 * first[p.firstAt + i] + p.rest1 * g;
  let v = p.decay2 * second[p.secondAt + i] + p.rest2 * g * g;
  first[p.firstAt + i] = m;
  second[p.secondAt + i] = v;
//: if MASKED
  if (!isKept) { return; }
//: end
  x[p.xAt + i] -= p.rate * m / (sqrt(v * p.secondMean) + p.epsilon);
}
