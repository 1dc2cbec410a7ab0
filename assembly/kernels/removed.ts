// What a pattern that keeps N of every M removes from the lines of a matrix, and its derivatives. I = w^2 s
// is an importance, T its sum over a line of n, and L its sum over the M - N smallest of each group of M.
// The loss is n L / T. Its slope by I is n (c - L / T) / T while the choice stays, where c is 1 for what
// goes and 0 for the others.
//
// Lines are gone through twice: for T and L, and for the derivatives. A row's marks are kept in between.
// Columns find theirs anew, because the marks of all columns may be as large as the matrix. Sums over lines
// are in f64. Lines whose T is no normal number add nothing.

import { inverseOf } from "../lib/entropy-row";
import { paddedDoubles, sumDoubles } from "../lib/lanes";
import { markColumns, removedColumnGradient } from "../lib/removed-column";
import { markRow, removedRowGradient, rowMarkBytes } from "../lib/removed-row";

export function removedRowsScratch(cols: i32, m: i32): usize {
  return rowMarkBytes(cols, m) + (<usize>m << 5) + 16;
}

/**
 * Rows of w [rows, cols], cols a multiple of m. `factors` [cols] f32 and `byFactor` [cols] f64,
 * which takes sums of w^2 times the slope, are padded to a multiple of 4; `byFactor` may be 0.
 *
 * @returns the sum of the rows' losses
 */
export function removedRows(
  rows: i32,
  cols: i32,
  w: usize,
  factors: usize,
  gradient: usize,
  byFactor: usize,
  accumulate: bool,
  m: i32,
  drop: i32,
  scratch: usize,
): f64 {
  if (byFactor) memory.fill(byFactor, 0, paddedDoubles(cols));
  const step = <usize>cols << 2;
  const work = scratch + 16;
  const marks = work + (<usize>m << 5);
  let sum: f64 = 0;
  for (let row = 0; row < rows; row++) {
    markRow(cols, w, factors, m, drop, marks, scratch, work);
    const total = load<f64>(scratch);
    const inverse = inverseOf(total);
    const share = inverse == 0 ? 0 : load<f64>(scratch, 8) / total;
    sum += share * <f64>cols;
    const high = <f32>((1 - share) * <f64>cols);
    const low = <f32>(-share * <f64>cols);
    removedRowGradient(
      cols,
      w,
      factors,
      marks,
      gradient,
      byFactor,
      inverse,
      high,
      low,
      accumulate,
    );
    w += step;
    gradient += step;
  }
  return sum;
}

export function removedColumnsScratch(cols: i32, m: i32): usize {
  return 3 * paddedDoubles(cols) + (paddedDoubles(cols) >> 1) + 3 * (<usize>m << 4);
}

/**
 * Columns of w [rows, cols], rows a multiple of m. `factors` [rows] f32; `byFactor` [rows] f64 takes
 * sums of w^2 times the slope, and may be 0.
 *
 * @returns the sum of the columns' losses
 */
export function removedColumns(
  rows: i32,
  cols: i32,
  w: usize,
  factors: usize,
  gradient: usize,
  byFactor: usize,
  accumulate: bool,
  m: i32,
  drop: i32,
  scratch: usize,
): f64 {
  const bytes = paddedDoubles(cols);
  const floats = bytes >> 1;
  const losts = scratch + bytes;
  const slopes = losts + bytes;
  const sums = slopes + 3 * floats;
  const panel = sums + (<usize>m << 4);
  const step = <usize>cols << 2;
  // With no importance, what pads the columns has no slope.
  memory.fill(scratch, 0, 2 * bytes + 3 * floats);
  for (let row = 0; row < rows; row += m) {
    const at = w + <usize>row * step;
    const factor = factors + (<usize>row << 2);
    markColumns(cols, at, step, factor, m, drop, scratch, losts, panel);
  }
  let sum: f64 = 0;
  for (let j: usize = 0; j < <usize>cols; j++) {
    const total = load<f64>(scratch + (j << 3));
    const inverse = inverseOf(total);
    const share = inverse == 0 ? 0 : load<f64>(losts + (j << 3)) / total;
    sum += share * <f64>rows;
    const slope = slopes + (j << 2);
    store<f32>(slope, inverse);
    store<f32>(slope + floats, <f32>((1 - share) * <f64>rows));
    store<f32>(slope + 2 * floats, <f32>(-share * <f64>rows));
  }
  for (let row = 0; row < rows; row += m) {
    const at = <usize>row * step;
    const factor = factors + (<usize>row << 2);
    memory.fill(sums, 0, <usize>m << 4);
    removedColumnGradient(
      cols,
      w + at,
      step,
      factor,
      m,
      drop,
      slopes,
      floats,
      gradient + at,
      sums,
      accumulate,
      panel,
    );
    if (!byFactor) continue;
    for (let i: usize = 0; i < <usize>m; i++) {
      const total = sumDoubles(v128.load(sums + (i << 4)));
      store<f64>(byFactor + ((<usize>row + i) << 3), total);
    }
  }
  return sum;
}
