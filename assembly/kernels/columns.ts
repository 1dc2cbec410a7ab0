// Copies columns of a row-major matrix of f32.

/**
 * out [rows, count * width] = `count` stretches of `width` columns of x [rows, cols], the next one
 * `stride` columns behind the beginning of the last.
 *
 * @param x at the first column of the first stretch
 */
export function columnsTake(
  x: usize,
  out: usize,
  rows: i32,
  cols: i32,
  count: i32,
  width: i32,
  stride: i32,
): void {
  const bytes = <usize>width << 2;
  for (let row = 0; row < rows; row++) {
    let from = x;
    for (let i = 0; i < count; i++) {
      memory.copy(out, from, bytes);
      out += bytes;
      from += <usize>stride << 2;
    }
    x += <usize>cols << 2;
  }
}
