// One group of 4 of ARMOR's sparse core (arXiv 2510.05528). It is drawn, and gets its best support
// and values by the normal equations. These are solved in f64, because they take differences of
// large numbers; they are few operations.
//
// With s the group's values, f(s) is a constant - 2 uᵀs + |a|² sᵀGs. Here a is the column of A that
// the group meets, and G = B_g diag(w) B_gᵀ the Gram matrix of its four rows of B. The gradient at
// the current values gives u.

import { sumLanes, sumLanesOfFour } from "./simd";

/** What is added to |a|², so that a singular system has a solution. */
const NORM_EPSILON: f64 = 1e-8;

/** Bytes of scratch for `solveGroup`: u [4], s [4], G [4, 4] in f64. */
export const GROUP_SCRATCH: usize = (4 + 4 + 16) * 8;

/** norms [groups] = L1 norms of `gradient`'s groups of 4, a multiple of 4 groups. Returns their sum. */
export function groupNorms(gradient: usize, groups: i32, norms: usize): f32 {
  let total = f32x4.splat(0);
  for (; groups > 0; groups -= 4) {
    const g0 = f32x4.abs(v128.load(gradient));
    const g1 = f32x4.abs(v128.load(gradient, 16));
    const g2 = f32x4.abs(v128.load(gradient, 32));
    const g3 = f32x4.abs(v128.load(gradient, 48));
    const sums = sumLanesOfFour(g0, g1, g2, g3);
    v128.store(norms, sums);
    total = f32x4.add(total, sums);
    gradient += 64;
    norms += 16;
  }
  return sumLanes(total);
}

/**
 * Draws a group by `choice` in [0, 1): a group is as likely as its norm's share of `total`. Returns -1
 * when all norms are 0.
 */
export function drawGroup(norms: usize, groups: i32, total: f32, choice: f32): i32 {
  const wanted = <f64>choice * <f64>total;
  let sum: f64 = 0;
  let drawn = -1;
  for (let group = 0; group < groups; group++) {
    const norm = load<f32>(norms + (<usize>group << 2));
    if (norm == 0) continue;
    drawn = group;
    sum += <f64>norm;
    if (sum > wanted) break;
  }
  return drawn;
}

/**
 * Finds the best two of the group's four places and their values.
 *
 * @param s f32 [4], the current values, at most two of them not 0; the new ones are left in scratch
 * @param gradient f32 [4]
 * @param norm |a|²
 * @param right the group's first row of B [4, size]
 * @param weights f32 [size], 2 w
 * @param ridge added to the Gram matrix's diagonal
 * @param scratch GROUP_SCRATCH bytes; f64 [4] at offset 32 is the solution
 * @returns the support as bits, 0 when the current values are the best; what f falls by is stored
 *   at scratch
 */
export function solveGroup(
  s: usize,
  gradient: usize,
  norm: f64,
  right: usize,
  size: i32,
  weights: usize,
  ridge: f64,
  scratch: usize,
): i32 {
  const gram = scratch + 64;
  fillGram(right, size, weights, gram);
  let best: f64 = 0;
  for (let x: usize = 0; x < 4; x++) {
    let row: f64 = 0;
    for (let y: usize = 0; y < 4; y++) row += at(gram, 4 * x + y) * <f64>load<f32>(s + (y << 2));
    const value = <f64>load<f32>(s + (x << 2));
    const u = norm * row - <f64>load<f32>(gradient + (x << 2)) / 2;
    store<f64>(scratch + (x << 3), u);
    best += value * (2 * u - norm * row);
  }
  const current = best;
  let support = 0;
  for (let x: usize = 0; x < 3; x++) {
    for (let y = x + 1; y < 4; y++) {
      const xy = at(gram, 4 * x + y);
      const xx = at(gram, 5 * x);
      const yy = at(gram, 5 * y);
      const ux = at(scratch, x);
      const uy = at(scratch, y);
      const determinant = ((xx + ridge) * (yy + ridge) - xy * xy) * (norm + NORM_EPSILON);
      if (!(determinant > 0)) continue;
      const sx = ((yy + ridge) * ux - xy * uy) / determinant;
      const sy = ((xx + ridge) * uy - xy * ux) / determinant;
      const gain = 2 * (ux * sx + uy * sy) - norm * (xx * sx * sx + 2 * xy * sx * sy + yy * sy * sy);
      if (!(gain > best)) continue;
      best = gain;
      support = (1 << <i32>x) | (1 << <i32>y);
      memory.fill(scratch + 32, 0, 32);
      store<f64>(scratch + 32 + (x << 3), sx);
      store<f64>(scratch + 32 + (y << 3), sy);
    }
  }
  store<f64>(scratch, best - current);
  return support;
}

// @ts-ignore: decorator
@inline
function at(base: usize, i: usize): f64 {
  return load<f64>(base + (i << 3));
}

/** gram f64 [4, 4] = B_g diag(w) B_gᵀ. */
function fillGram(right: usize, size: i32, weights: usize, gram: usize): void {
  const ld = <usize>size << 2;
  for (let x: usize = 0; x < 4; x++) {
    for (let y = x; y < 4; y++) {
      let sum: f64 = 0;
      const left = right + x * ld;
      const other = right + y * ld;
      for (let j: usize = 0; j < ld; j += 4) {
        sum += <f64>load<f32>(weights + j) * <f64>load<f32>(left + j) * <f64>load<f32>(other + j);
      }
      store<f64>(gram + ((4 * x + y) << 3), sum / 2);
      store<f64>(gram + ((4 * y + x) << 3), sum / 2);
    }
  }
}
