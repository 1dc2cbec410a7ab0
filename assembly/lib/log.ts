// The natural logarithm in four f32 lanes.
//
// x = 2^n (1 + f) with 1 + f in [sqrt(1/2), sqrt 2), log x = n ln 2 + f - f^2 / 2 + f^3 q(f). q has
// degree 7; its coefficients minimise the largest relative error of log(1 + f) (6e-9, fitted for
// this project), so rounding dominates: below 8e-8. ln 2 is split so that n times its upper part is
// exact.

// Constants come from memory: engines rebuild v128 literals at every use.
const CONSTANTS: usize = memory.data<f32>([
  1,
  0.5,
  0.693359375, // upper part of ln 2
  -0.00021219444170128554, // the rest of ln 2
  -0.07634497433900833, // q, highest power first
  0.1276157796382904,
  -0.13160182535648346,
  0.14201757311820984,
  -0.16623356938362122,
  0.20001226663589478,
  -0.2500081956386566,
  0.3333333134651184,
]);

/** The bits of sqrt(1/2), from which numbers belong to the next power of two. */
const ROOT_BITS: usize = memory.data<i32>([0x3f3504f3]);

/** log(x) in every lane that is a normal positive number; elsewhere some finite number or NaN. */
// @ts-ignore: decorator
@inline
export function log(x: v128): v128 {
  const power = i32x4.shr_s(i32x4.sub(x, v128.load32_splat(ROOT_BITS)), 23);
  const n = f32x4.convert_i32x4_s(power);
  const f = f32x4.sub(i32x4.sub(x, i32x4.shl(power, 23)), v128.load32_splat(CONSTANTS));
  let q = v128.load32_splat(CONSTANTS, 16);
  q = f32x4.add(f32x4.mul(q, f), v128.load32_splat(CONSTANTS, 20));
  q = f32x4.add(f32x4.mul(q, f), v128.load32_splat(CONSTANTS, 24));
  q = f32x4.add(f32x4.mul(q, f), v128.load32_splat(CONSTANTS, 28));
  q = f32x4.add(f32x4.mul(q, f), v128.load32_splat(CONSTANTS, 32));
  q = f32x4.add(f32x4.mul(q, f), v128.load32_splat(CONSTANTS, 36));
  q = f32x4.add(f32x4.mul(q, f), v128.load32_splat(CONSTANTS, 40));
  q = f32x4.add(f32x4.mul(q, f), v128.load32_splat(CONSTANTS, 44));
  const square = f32x4.mul(f, f);
  let low = f32x4.mul(f, f32x4.mul(square, q));
  low = f32x4.add(low, f32x4.mul(n, v128.load32_splat(CONSTANTS, 12)));
  low = f32x4.sub(low, f32x4.mul(square, v128.load32_splat(CONSTANTS, 4)));
  return f32x4.add(f32x4.add(f, low), f32x4.mul(n, v128.load32_splat(CONSTANTS, 8)));
}
