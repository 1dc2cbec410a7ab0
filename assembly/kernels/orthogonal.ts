// What a search over orthogonal matrices takes besides products: diagonals of products, scaled sums,
// the skew-symmetric part, and Adam's step.

import { addDoubles, loadUpTo, paddedDoubles, storeUpTo } from "../lib/lanes";

/** out [cols] = column sums of a * b. scratch: 8 bytes a column, padded to 4 columns. */
export function orthogonalColumnDots(
  rows: i32,
  cols: i32,
  a: usize,
  b: usize,
  out: usize,
  scratch: usize,
): void {
  memory.fill(scratch, 0, paddedDoubles(cols));
  for (let row = 0; row < rows; row++) {
    let sums = scratch;
    for (let left = cols; left > 0; left -= 4) {
      const width = <usize>min(left, 4) << 2;
      addDoubles(sums, f32x4.mul(loadUpTo(a, left), loadUpTo(b, left)));
      a += width;
      b += width;
      sums += 32;
    }
  }
  for (let j: usize = 0; j < <usize>cols; j++) {
    store<f32>(out + (j << 2), <f32>load<f64>(scratch + (j << 3)));
  }
}

/** x [rows, cols] += factor * y * scale [cols], column by column. */
export function orthogonalAddScaled(
  rows: i32,
  cols: i32,
  x: usize,
  y: usize,
  scale: usize,
  factor: f32,
): void {
  const f = f32x4.splat(factor);
  for (let row = 0; row < rows; row++) {
    let s = scale;
    for (let left = cols; left > 0; left -= 4) {
      const width = <usize>min(left, 4) << 2;
      const product = f32x4.mul(f32x4.mul(f, loadUpTo(y, left)), loadUpTo(s, left));
      storeUpTo(x, f32x4.add(loadUpTo(x, left), product), left);
      x += width;
      y += width;
      s += 16;
    }
  }
}

/** Side of the square tiles that `orthogonalAntisymmetrise` pairs, so that both stay in the cache. */
const TILE: i32 = 32;

/** a [n, n] -= its transpose. */
export function orthogonalAntisymmetrise(n: i32, a: usize): void {
  const ld = <usize>n << 2;
  for (let i0 = 0; i0 < n; i0 += TILE) {
    const rows = min(n, i0 + TILE);
    for (let j0 = 0; j0 <= i0; j0 += TILE) {
      for (let i = i0; i < rows; i++) {
        const cols = min(i + 1, j0 + TILE);
        let left = a + <usize>i * ld + (<usize>j0 << 2);
        let right = a + <usize>j0 * ld + (<usize>i << 2);
        for (let j = j0; j < cols; j++) {
          const difference = load<f32>(left) - load<f32>(right);
          store<f32>(right, -difference);
          store<f32>(left, difference);
          left += 4;
          right += ld;
        }
      }
    }
  }
}

/**
 * Adam on `size` floats: first = beta1 first + (1 - beta1) g, second likewise with g^2, where g is
 * scale * gradient; x -= rate * first / (sqrt(second * secondMean) + epsilon). `rate` is the
 * learning rate times the first moment's correction, `secondMean` the second's.
 */
export function orthogonalAdam(
  size: i32,
  x: usize,
  gradient: usize,
  first: usize,
  second: usize,
  scale: f32,
  beta1: f32,
  beta2: f32,
  rate: f32,
  secondMean: f32,
  epsilon: f32,
): void {
  const decay1 = f32x4.splat(beta1);
  const decay2 = f32x4.splat(beta2);
  const gain1 = f32x4.splat((1 - beta1) * scale);
  const gain2 = f32x4.splat((1 - beta2) * scale * scale);
  const rates = f32x4.splat(rate);
  const means = f32x4.splat(secondMean);
  const epsilons = f32x4.splat(epsilon);
  for (; size > 0; size -= 4) {
    const g = loadUpTo(gradient, size);
    const m = f32x4.add(f32x4.mul(decay1, loadUpTo(first, size)), f32x4.mul(gain1, g));
    const squares = f32x4.mul(gain2, f32x4.mul(g, g));
    const v = f32x4.add(f32x4.mul(decay2, loadUpTo(second, size)), squares);
    const spread = f32x4.add(f32x4.sqrt(f32x4.mul(v, means)), epsilons);
    const step = f32x4.div(f32x4.mul(rates, m), spread);
    storeUpTo(first, m, size);
    storeUpTo(second, v, size);
    storeUpTo(x, f32x4.sub(loadUpTo(x, size), step), size);
    x += 16;
    gradient += 16;
    first += 16;
    second += 16;
  }
}
