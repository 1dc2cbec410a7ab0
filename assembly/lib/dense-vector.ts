// The dense product with one token, for weights of any type of lib/half.ts. Eight rows are read at
// once, an eighth of all rows apart: a single stream from memory waits at every page.

import { high, low, movedBits, single } from "./half";
import { madd, sumLanes } from "./simd";

/**
 * out [rows] = x [cols] W^T + bias, W [rows, cols] of T; x was multiplied with halfLift() for f16.
 *
 * @param bias [rows], or 0 for none
 * @param scales [rows], or 0 for none
 */
export function denseVector<T>(
  x: usize,
  w: usize,
  out: usize,
  bias: usize,
  scales: usize,
  rows: i32,
  cols: i32,
): void {
  const step = <usize>cols * sizeof<T>();
  const eighth = (rows + 7) >> 3;
  for (let row = 0; row < eighth; row++) {
    eightRows<T>(x, w, step, eighth, cols, out, bias, scales, row, rows);
    w += step;
  }
}

/** sum + eight weights times their activations. */
// @ts-ignore: decorator
@inline
function eightProducts<T>(w: usize, x0: v128, x1: v128, moved: v128, sum: v128): v128 {
  if (sizeof<T>() == 4) return madd(v128.load(w, 16), x1, madd(v128.load(w), x0, sum));
  const eight = sizeof<T>() == 1 ? v128.load_ext<i8>(w) : v128.load(w);
  return madd(high<T>(eight, moved), x1, madd(low<T>(eight, moved), x0, sum));
}

/**
 * The rows row + i * apart for i from 0 to 7, the first of which is at w0. Those from `rows` on are computed
 * as the first again, for nothing.
 */
function eightRows<T>(
  x: usize,
  w0: usize,
  step: usize,
  apart: i32,
  cols: i32,
  out: usize,
  bias: usize,
  scales: usize,
  row: i32,
  rows: i32,
): void {
  const moved = movedBits();
  const distance = step * <usize>apart;
  const last = (rows - 1 - row) / apart;
  let w1 = last >= 1 ? w0 + distance : w0;
  let w2 = last >= 2 ? w0 + 2 * distance : w0;
  let w3 = last >= 3 ? w0 + 3 * distance : w0;
  let w4 = last >= 4 ? w0 + 4 * distance : w0;
  let w5 = last >= 5 ? w0 + 5 * distance : w0;
  let w6 = last >= 6 ? w0 + 6 * distance : w0;
  let w7 = last >= 7 ? w0 + 7 * distance : w0;
  let s0 = f32x4.splat(0);
  let s1 = f32x4.splat(0);
  let s2 = f32x4.splat(0);
  let s3 = f32x4.splat(0);
  let s4 = f32x4.splat(0);
  let s5 = f32x4.splat(0);
  let s6 = f32x4.splat(0);
  let s7 = f32x4.splat(0);
  for (let i = cols >> 3; i > 0; i--) {
    const x0 = v128.load(x);
    const x1 = v128.load(x, 16);
    s0 = eightProducts<T>(w0, x0, x1, moved, s0);
    s1 = eightProducts<T>(w1, x0, x1, moved, s1);
    s2 = eightProducts<T>(w2, x0, x1, moved, s2);
    s3 = eightProducts<T>(w3, x0, x1, moved, s3);
    s4 = eightProducts<T>(w4, x0, x1, moved, s4);
    s5 = eightProducts<T>(w5, x0, x1, moved, s5);
    s6 = eightProducts<T>(w6, x0, x1, moved, s6);
    s7 = eightProducts<T>(w7, x0, x1, moved, s7);
    x += 32;
    w0 += 8 * sizeof<T>();
    w1 += 8 * sizeof<T>();
    w2 += 8 * sizeof<T>();
    w3 += 8 * sizeof<T>();
    w4 += 8 * sizeof<T>();
    w5 += 8 * sizeof<T>();
    w6 += 8 * sizeof<T>();
    w7 += 8 * sizeof<T>();
  }
  const rest = cols & 7;
  finish<T>(s0, w0, x, rest, out, bias, scales, row, rows);
  finish<T>(s1, w1, x, rest, out, bias, scales, row + apart, rows);
  finish<T>(s2, w2, x, rest, out, bias, scales, row + 2 * apart, rows);
  finish<T>(s3, w3, x, rest, out, bias, scales, row + 3 * apart, rows);
  finish<T>(s4, w4, x, rest, out, bias, scales, row + 4 * apart, rows);
  finish<T>(s5, w5, x, rest, out, bias, scales, row + 5 * apart, rows);
  finish<T>(s6, w6, x, rest, out, bias, scales, row + 6 * apart, rows);
  finish<T>(s7, w7, x, rest, out, bias, scales, row + 7 * apart, rows);
}

/** One row's result: the lane sums and the `rest` < 8 products left, scaled, plus bias. */
function finish<T>(
  sums: v128,
  w: usize,
  x: usize,
  rest: i32,
  out: usize,
  bias: usize,
  scales: usize,
  row: i32,
  rows: i32,
): void {
  if (row >= rows) return;
  const at = <usize>row << 2;
  let sum = sumLanes(sums);
  for (; rest > 0; rest--) {
    sum += single<T>(w) * load<f32>(x);
    w += sizeof<T>();
    x += 4;
  }
  if (scales) sum *= load<f32>(scales + at);
  store<f32>(out + at, bias ? sum + load<f32>(bias + at) : sum);
}
