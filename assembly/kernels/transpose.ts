import { transposeFourRows } from "../lib/pack";

/** out [cols, rows] = a [rows, cols] transposed: four rows at a time, then the rest one by one. */
export function transpose(rows: i32, cols: i32, a: usize, out: usize): void {
  const ld = <usize>cols << 2;
  const step = <usize>rows << 2;
  let row = 0;
  for (; row <= rows - 4; row += 4) {
    transposeFourRows(a, ld, cols, 1, out, step);
    a += 4 * ld;
    out += 16;
  }
  for (; row < rows; row++) {
    let to = out;
    for (let at = a; at < a + ld; at += 4) {
      store<f32>(to, load<f32>(at));
      to += step;
    }
    a += ld;
    out += 4;
  }
}
