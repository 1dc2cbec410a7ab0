// Grids whose levels are not all whole numbers of their bits: three of them (-1, 0 and 1), or those of a
// table, table[u] * s. Sums in four lanes of f32, those of three levels in f64, and all of it in one order, so
// that every build and the reference choose the same scales and codes.

import {
  codeOf,
  entriesOf,
  factorOf,
  factorsOf,
  fitGroup,
  fitGroupScratch,
  lowestOf,
  roundScale,
  SMALLEST_HALF,
  tableOf,
} from "./grid";
import { sumLanes } from "./simd";

/** How often a scale is fitted to codes that a table has: TABLE_ROUNDS of operations/fit-scales.ts. */
const ROUNDS: i32 = 2;

/** The code nearest to x, from the lowest to the largest; of a table's levels the lower one of two. */
// @ts-ignore: decorator
@inline
export function codeIn(table: usize, x: f32, scale: f32, zero: f32, lowest: f32, most: f32): f32 {
  if (table) return <f32>entryOf(table, <i32>most + 1, x / scale);
  return codeOf(x, scale, zero, lowest, most);
}

/** What a code's value is a multiple of the scale by. */
// @ts-ignore: decorator
@inline
export function levelIn(table: usize, code: f32, zero: f32): f32 {
  return table ? load<f32>(table + (<usize>code << 2)) : code - zero;
}

/** The entry of a table that is nearest to a level, the lower one of two. */
function entryOf(table: usize, entries: i32, level: f32): i32 {
  let entry = 0;
  const halfway = table + (<usize>entries << 2);
  for (let i = 0; i < entries - 1; i++) entry += i32(level > load<f32>(halfway + (<usize>i << 2)));
  return entry;
}

/** Four levels of a table, those nearest to x / scale. */
// @ts-ignore: decorator
@inline
function levelsOf(table: usize, entries: i32, x: v128, scale: v128): v128 {
  const wanted = f32x4.div(x, scale);
  const halfway = table + (<usize>entries << 2);
  let level = v128.load32_splat(table);
  for (let i = 0; i < entries - 1; i++) {
    const at = <usize>i << 2;
    const isAbove = f32x4.gt(wanted, v128.load32_splat(halfway + at));
    level = v128.bitselect(v128.load32_splat(table + at + 4), level, isAbove);
  }
  return level;
}

/** Bytes of scratch for `fitLevels`. */
export function fitLevelsScratch(groupSize: i32): usize {
  return fitGroupScratch(groupSize) + (<usize>((groupSize + 3) & ~3) << 2);
}

/** Fits scale and zero point to a group of any grid without units; arguments as of `fitGroup`. */
export function fitLevels(
  n: i32,
  x: usize,
  omega: usize,
  mask: usize,
  grid: usize,
  scratch: usize,
  scale: usize,
  zero: usize,
): void {
  const table = tableOf(grid);
  if (table == 0 && lowestOf(grid) == 0) {
    fitGroup(n, x, omega, mask, grid, scratch, scale, zero);
    return;
  }
  const padded = (n + 3) & ~3;
  const weights = scratch + (<usize>padded << 2);
  let largest: f32 = 0;
  for (let i = 0; i < padded; i++) {
    const at = <usize>i << 2;
    const isIn = i < n && (mask == 0 || load<u8>(mask + <usize>i) != 0);
    const value = isIn ? load<f32>(x + at) : 0;
    store<f32>(scratch + at, value);
    store<f32>(weights + at, i < n ? load<f32>(omega + at) : 0);
    largest = max<f32>(largest, abs<f32>(value));
  }
  let found = SMALLEST_HALF;
  if (largest != 0) {
    found = table
      ? fitTable(padded, scratch, weights, grid, table, largest)
      : roundScale(fitThree(n, scratch, weights, weights + (<usize>padded << 2), largest), grid);
  }
  store<f32>(scale, found);
}

/** Whether the weight with the index a stands before that with b: falling by size, then by place. */
// @ts-ignore: decorator
@inline
function isBefore(x: usize, a: i32, b: i32): bool {
  const one = abs<f32>(load<f32>(x + (<usize>a << 2)));
  const other = abs<f32>(load<f32>(x + (<usize>b << 2)));
  return one > other || (one == other && a < b);
}

/** Sorts the indices of n weights by falling size (Shell's sort); equal ones keep their order. */
function sortFalling(n: i32, x: usize, order: usize): void {
  for (let i = 0; i < n; i++) store<i32>(order + (<usize>i << 2), i);
  let gap = 1;
  while (gap < n / 3) gap = 3 * gap + 1;
  for (; gap > 0; gap /= 3) {
    const step = <usize>gap << 2;
    for (let i = gap; i < n; i++) {
      let at = order + (<usize>i << 2);
      const own = load<i32>(at);
      for (let j = i; j >= gap; j -= gap) {
        const other = load<i32>(at - step);
        if (!isBefore(x, own, other)) break;
        store<i32>(at, other);
        at -= step;
      }
      store<i32>(at, own);
    }
  }
}

/**
 * The scale of the levels -1, 0 and 1 with the least weighted error: for each k that the k largest weights are
 * not 0 it is their weighted mean, and then k is the one with the largest (sum of omega |x|)² / sum of omega.
 */
function fitThree(n: i32, x: usize, omega: usize, order: usize, largest: f32): f32 {
  // NaN or infinity.
  if (largest - largest != 0) return largest;
  sortFalling(n, x, order);
  let sum: f64 = 0;
  let weight: f64 = 0;
  let best: f64 = 0;
  let scale = largest;
  for (let k = 0; k < n; k++) {
    const at = <usize>load<i32>(order + (<usize>k << 2)) << 2;
    const own = <f64>load<f32>(omega + at);
    sum += own * <f64>abs<f32>(load<f32>(x + at));
    weight += own;
    const gain = (sum * sum) / weight;
    if (!(gain > best)) continue;
    best = gain;
    scale = <f32>(sum / weight);
  }
  return scale;
}

/** The best scale of the levels of a table among the candidates, and then as its codes want it. */
function fitTable(n: i32, x: usize, weights: usize, grid: usize, table: usize, largest: f32): f32 {
  const entries = entriesOf(grid);
  const last = load<f32>(table + (<usize>(entries - 1) << 2));
  const span = largest / max<f32>(-load<f32>(table), last);
  let best = roundScale(span, grid);
  let least = errorOf(n, x, weights, table, entries, best);
  const factors = factorsOf(grid);
  for (let i = 0; i < factors; i++) {
    const size = roundScale(factorOf(grid, i) * span, grid);
    for (let sign = 0; sign < 2; sign++) {
      const scale = sign ? -size : size;
      const error = errorOf(n, x, weights, table, entries, scale);
      if (!(error < least)) continue;
      least = error;
      best = scale;
    }
  }
  for (let round = 0; round < ROUNDS; round++) {
    const scale = roundScale(wantedScale(n, x, weights, table, entries, best), grid);
    const error = errorOf(n, x, weights, table, entries, scale);
    if (!(error < least)) break;
    least = error;
    best = scale;
  }
  return best;
}

/** The sum of weights * (value - x)², n a multiple of 4. */
function errorOf(n: i32, x: usize, weights: usize, table: usize, entries: i32, scale: f32): f32 {
  const scales = f32x4.splat(scale);
  let sum = f32x4.splat(0);
  for (; n > 0; n -= 4) {
    const values = v128.load(x);
    const gaps = f32x4.sub(f32x4.mul(levelsOf(table, entries, values, scales), scales), values);
    sum = f32x4.add(sum, f32x4.mul(f32x4.mul(v128.load(weights), gaps), gaps));
    x += 16;
    weights += 16;
  }
  return sumLanes(sum);
}

/** The scale with the least error of the codes that another one gives. */
function wantedScale(
  n: i32,
  x: usize,
  weights: usize,
  table: usize,
  entries: i32,
  scale: f32,
): f32 {
  const scales = f32x4.splat(scale);
  let linear = f32x4.splat(0);
  let square = linear;
  for (; n > 0; n -= 4) {
    const values = v128.load(x);
    const levels = levelsOf(table, entries, values, scales);
    const weighed = f32x4.mul(v128.load(weights), levels);
    linear = f32x4.add(linear, f32x4.mul(weighed, values));
    square = f32x4.add(square, f32x4.mul(weighed, levels));
    x += 16;
    weights += 16;
  }
  return sumLanes(linear) / sumLanes(square);
}
