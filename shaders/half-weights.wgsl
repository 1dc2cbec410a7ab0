// Single weights of the matrix w at binding 2: f32, or with HALF f16. A device without shader-f16 reads
// words of two f16.
//: if HALF
//: if F16
@group(0) @binding(2) var<storage, read> w: array<f16>;
fn weightAt(i: u32) -> f32 { return f32(w[i]); }
//: else
@group(0) @binding(2) var<storage, read> w: array<u32>;
fn weightAt(i: u32) -> f32 {
  let both = unpack2x16float(w[i / 2u]);
  return select(both.x, both.y, i % 2u == 1u);
}
//: end
//: else
@group(0) @binding(2) var<storage, read> w: array<f32>;
fn weightAt(i: u32) -> f32 { return w[i]; }
//: end
