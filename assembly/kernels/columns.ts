// Copies columns of a row-major matrix.

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

/**
 * out [rows, cols] = x [rows, cols] with its columns in another order.
 *
 * @param x of f32; out likewise
 * @param order i32 [cols]
 */
export function columnsOrder(x: usize, out: usize, order: usize, rows: i32, cols: i32): void {
  for (let row = 0; row < rows; row++) {
    for (let j = 0; j < cols; j++) {
      const at = <usize>load<u32>(order + (<usize>j << 2)) << 2;
      store<u32>(out + (<usize>j << 2), load<u32>(x + at));
    }
    x += <usize>cols << 2;
    out += <usize>cols << 2;
  }
}
