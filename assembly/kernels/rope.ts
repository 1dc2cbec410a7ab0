// Rotary position embedding in place: within a head, element i turns with element i + half by the
// angle of its row. Tables hold `half` cosines and sines a row. What a head has beyond 2 * half elements
// stays.

/**
 * x [rows, heads, headDim], headDim >= 2 * half.
 *
 * @param cos table at the first row's position; sin likewise
 */
export function ropeRotate(
  x: usize,
  cos: usize,
  sin: usize,
  rows: i32,
  heads: i32,
  half: i32,
  headDim: i32,
): void {
  const offset = <usize>half << 2;
  const rest = <usize>(headDim - half) << 2;
  for (let row = 0; row < rows; row++) {
    for (let head = 0; head < heads; head++) {
      let c = cos;
      let s = sin;
      let upper = x + offset;
      let left = half;
      for (; left >= 4; left -= 4) {
        const a = v128.load(x);
        const b = v128.load(upper);
        const cosines = v128.load(c);
        const sines = v128.load(s);
        v128.store(x, f32x4.sub(f32x4.mul(a, cosines), f32x4.mul(b, sines)));
        v128.store(upper, f32x4.add(f32x4.mul(b, cosines), f32x4.mul(a, sines)));
        x += 16;
        upper += 16;
        c += 16;
        s += 16;
      }
      for (; left > 0; left--) {
        const a = load<f32>(x);
        const b = load<f32>(upper);
        store<f32>(x, a * load<f32>(c) - b * load<f32>(s));
        store<f32>(upper, b * load<f32>(c) + a * load<f32>(s));
        x += 4;
        upper += 4;
        c += 4;
        s += 4;
      }
      x += rest;
    }
    cos += offset;
    sin += offset;
  }
}
