// The two forms of GELU in four f32 lanes. They are called, not inlined: a call takes little beside
// them, and they are used in many places.
//
// The share of a normal variable's values above a >= 0 is exp(-a^2 / 2) g(t), t = 1 / (1 + 0.23 a). g
// has degree 8; its coefficients minimise the largest relative error for a up to 13.6, from where on
// the share is 0 in f32 (4.8e-8, fitted for this project; 4.2e-7 once f32 rounds its terms). Squaring
// rounds too, which exp makes a^2 / 2 times larger.

import { exp, ones } from "./exp";

// Constants come from memory: engines rebuild v128 literals at every use.
const CONSTANTS: usize = memory.data<f32>([
  20, // from here on products with the share are 0
  0.23,
  -0.5,
  -0.0784410759806633, // g, highest power first
  0.29027998447418213,
  -0.27783524990081787,
  0.30111920833587646,
  -0.03265931084752083,
  0.11939428001642227,
  0.0857962816953659,
  0.0923733115196228,
  -0.0000274258891295176,
  0.044715,
  -1.5957691216057308, // -2 sqrt(2 / pi)
]);

/** A constant in every lane. */
// @ts-ignore: decorator
@inline
function constant(index: i32): v128 {
  return v128.load32_splat(CONSTANTS + (<usize>index << 2));
}

/** The first lane. */
// @ts-ignore: decorator
@inline
export function lane(x: v128): f32 {
  return f32x4.extract_lane(x, 0);
}

/** x times the share of a normal variable's values below x; NaN stays NaN. */
export function gelu(x: v128): v128 {
  // pmin is one instruction, and keeps a NaN that stands first.
  const a = f32x4.pmin(f32x4.abs(x), constant(0));
  const t = f32x4.div(ones(), f32x4.add(ones(), f32x4.mul(a, constant(1))));
  let g = constant(3);
  for (let i = 4; i < 12; i++) g = f32x4.add(f32x4.mul(g, t), constant(i));
  const share = f32x4.mul(exp(f32x4.mul(f32x4.mul(a, a), constant(2))), g);
  return f32x4.sub(f32x4.max(x, f32x4.splat(0)), f32x4.mul(a, share));
}

/** x / (1 + exp(-2 sqrt(2 / pi) (x + 0.044715 x^3))); NaN stays NaN. */
export function geluTanh(x: v128): v128 {
  const cube = f32x4.mul(f32x4.mul(f32x4.mul(x, x), x), constant(12));
  const power = exp(f32x4.mul(f32x4.add(x, cube), constant(13)));
  return f32x4.div(x, f32x4.add(ones(), power));
}
