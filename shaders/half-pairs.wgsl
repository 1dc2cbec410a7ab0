// The two values of a group, binding 2: f32, or with HALF f16.
//: if HALF
//: if F16
@group(0) @binding(2) var<storage, read> values: array<vec2<f16>>;
fn pairAt(i: u32) -> vec2f { return vec2f(values[i]); }
//: else
@group(0) @binding(2) var<storage, read> values: array<u32>;
fn pairAt(i: u32) -> vec2f { return unpack2x16float(values[i]); }
//: end
//: else
@group(0) @binding(2) var<storage, read> values: array<vec2f>;
fn pairAt(i: u32) -> vec2f { return values[i]; }
//: end
