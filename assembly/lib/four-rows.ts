// The transpose of four rows of four floats, in registers.

/** to[i] = the lanes i of a, b, c and d, for i < 4; `step` bytes from one to the next. */
// @ts-ignore: decorator
@inline
export function storeColumns(a: v128, b: v128, c: v128, d: v128, to: usize, step: usize): void {
  const lowAb = v128.shuffle<f32>(a, b, 0, 4, 1, 5);
  const lowCd = v128.shuffle<f32>(c, d, 0, 4, 1, 5);
  const highAb = v128.shuffle<f32>(a, b, 2, 6, 3, 7);
  const highCd = v128.shuffle<f32>(c, d, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<f64>(lowAb, lowCd, 0, 2));
  v128.store(to + step, v128.shuffle<f64>(lowAb, lowCd, 1, 3));
  v128.store(to + 2 * step, v128.shuffle<f64>(highAb, highCd, 0, 2));
  v128.store(to + 3 * step, v128.shuffle<f64>(highAb, highCd, 1, 3));
}
