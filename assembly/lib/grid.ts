// Matrices on a grid: (u - z) * s - m with a code u, and a scale s, a zero point z and a minimum m for
// every group of columns of a row, or table[u] * s (grid-levels.ts). All of it in f32 and in one order, without fused multiply-adds, so that
// every build and the reference choose the same scales and codes.
//
// What holds for a whole grid stands in memory, at the addresses below from its own on.

import { sumLanes } from "./simd";

const GROUP_SIZE: usize = 0; // i32: columns of a group
const MOST: usize = 4; // f32: the largest code
const MIDDLE: usize = 8; // f32: the zero point of a grid that has none of its own
const DROPPED: usize = 12; // i32: bits of an f32 that a scale does not have
const LEAST: usize = 16; // f32: the least size of a scale
const FACTORS: usize = 20; // i32: how many candidates there are
const SPAN: usize = 24; // i32: columns whose scales are fitted together
const PATTERN: usize = 28; // i32: columns that some are kept of each, 0 where a mask tells all
const DROPPED_OF: usize = 32; // i32: how many of those go
const LOWEST: usize = 36; // f32: the least code
const ENTRIES: usize = 40; // i32: levels of a table; 0 where there is none
// f32 [FACTORS], then the table [ENTRIES], then what lies halfway between one entry and the next
const FIRST_FACTOR: usize = 44;

/** The scale of a group of zeros. */
export const SMALLEST_HALF: f32 = 1.0 / 16384.0;

// @ts-ignore: decorator
@inline
export function groupSizeOf(grid: usize): i32 {
  return load<i32>(grid, GROUP_SIZE);
}

// @ts-ignore: decorator
@inline
export function mostOf(grid: usize): f32 {
  return load<f32>(grid, MOST);
}

/** The zero point of a group. */
// @ts-ignore: decorator
@inline
export function zeroOf(grid: usize, zeros: usize, group: i32): f32 {
  return zeros ? <f32>load<u8>(zeros + <usize>group) : middleOf(grid);
}

/** The zero point of a grid that has none of its own. */
// @ts-ignore: decorator
@inline
export function middleOf(grid: usize): f32 {
  return load<f32>(grid, MIDDLE);
}

/** Columns whose scales are fitted together: a group, or 256 in a grid with units. */
// @ts-ignore: decorator
@inline
export function spanOf(grid: usize): i32 {
  return load<i32>(grid, SPAN);
}

/** Columns of which the sweep keeps some; 0 where it is told which. */
// @ts-ignore: decorator
@inline
export function patternOf(grid: usize): i32 {
  return load<i32>(grid, PATTERN);
}

/** How many of those columns go. */
// @ts-ignore: decorator
@inline
export function droppedOf(grid: usize): i32 {
  return load<i32>(grid, DROPPED_OF);
}

/** The least code. */
// @ts-ignore: decorator
@inline
export function lowestOf(grid: usize): f32 {
  return load<f32>(grid, LOWEST);
}

/** How many levels a table has; 0 where there is none. */
// @ts-ignore: decorator
@inline
export function entriesOf(grid: usize): i32 {
  return load<i32>(grid, ENTRIES);
}

/** Where the levels of a table are, f32 [entries], what lies halfway between two behind them; 0 for none. */
// @ts-ignore: decorator
@inline
export function tableOf(grid: usize): usize {
  return entriesOf(grid) ? grid + FIRST_FACTOR + (<usize>factorsOf(grid) << 2) : 0;
}

/** How many candidates there are. */
// @ts-ignore: decorator
@inline
export function factorsOf(grid: usize): i32 {
  return load<i32>(grid, FACTORS);
}

/** What makes a candidate. */
// @ts-ignore: decorator
@inline
export function factorOf(grid: usize, i: i32): f32 {
  return load<f32>(grid + (<usize>i << 2), FIRST_FACTOR);
}

/** The minimum of a group; 0 where there are none. */
// @ts-ignore: decorator
@inline
export function minimumOf(minima: usize, group: i32): f32 {
  return minima ? load<f32>(minima + (<usize>group << 2)) : 0;
}

/** Bytes of a row of units. */
// @ts-ignore: decorator
@inline
export function unitsBytes(cols: i32, minima: usize): usize {
  return <usize>(cols >> 8) << (minima ? 3 : 2);
}

/** The code nearest to x, from the lowest to the largest; the lowest of NaN. */
// @ts-ignore: decorator
@inline
export function codeOf(x: f32, scale: f32, zero: f32, lowest: f32, most: f32): f32 {
  const level = max<f32>(lowest, min<f32>(nearest<f32>(x / scale) + zero, most));
  return level == level ? level : lowest;
}

/** A scale as it is stored: rounded, and no smaller than the least. */
export function roundScale(scale: f32, grid: usize): f32 {
  const dropped = load<i32>(grid, DROPPED);
  const least = load<f32>(grid, LEAST);
  let bits = reinterpret<u32>(scale);
  bits += (<u32>1 << (dropped - 1)) - 1 + ((bits >> dropped) & 1);
  const rounded = reinterpret<f32>((bits >> dropped) << dropped);
  return abs<f32>(rounded) < least ? copysign<f32>(least, scale) : rounded;
}

/** Bytes of scratch for `fitGroup`. */
export function fitGroupScratch(groupSize: i32): usize {
  return <usize>((groupSize + 3) & ~3) << 3;
}

/**
 * Fits scale and zero point to a group.
 *
 * @param n columns of the group
 * @param x f32 [n], f32 weights omega [n], and mask u8 [n], 0 where all are kept
 * @param scale where the scale goes; `zero` likewise, u8, 0 of symmetric grids
 */
export function fitGroup(
  n: i32,
  x: usize,
  omega: usize,
  mask: usize,
  grid: usize,
  scratch: usize,
  scale: usize,
  zero: usize,
): void {
  const padded = (n + 3) & ~3;
  const weights = scratch + (<usize>padded << 2);
  let low: f32 = 0;
  let high: f32 = 0;
  for (let i = 0; i < padded; i++) {
    const at = <usize>i << 2;
    const isIn = i < n && (mask == 0 || load<u8>(mask + <usize>i) != 0);
    const value = isIn ? load<f32>(x + at) : 0;
    store<f32>(scratch + at, value);
    store<f32>(weights + at, i < n ? load<f32>(omega + at) : 0);
    low = min<f32>(low, value);
    high = max<f32>(high, value);
  }
  const middle = middleOf(grid);
  const most = mostOf(grid);
  const largest = max<f32>(-low, high);
  if (largest == 0) {
    store<f32>(scale, SMALLEST_HALF);
    if (zero) store<u8>(zero, 0);
    return;
  }
  const span: f32 = zero ? (high - low) / most : largest / (middle - <f32>0.5);
  const point: f32 = zero ? codeOf(-low, span, 0, 0, most) : middle;
  let bestScale = roundScale(span, grid);
  let bestZero = point;
  const factors = factorsOf(grid);
  if (factors > 0) {
    let least = errorOf(padded, scratch, weights, bestScale, bestZero, most);
    for (let i = 0; i < factors; i++) {
      const size = roundScale(factorOf(grid, i) * span, grid);
      if (zero == 0) {
        const errors = errorsOfSigns(padded, scratch, weights, size, point, most, least);
        const plus = f32x4.extract_lane(errors, 0);
        const minus = f32x4.extract_lane(errors, 1);
        if (plus < least) {
          least = plus;
          bestScale = size;
        }
        if (minus < least) {
          least = minus;
          bestScale = -size;
        }
        continue;
      }
      // The nearest zero point, the one below and the one above.
      for (let j = 0; j < 3; j++) {
        const z = j == 0 ? point : j == 1 ? point - 1 : point + 1;
        if (z < 0 || z > most) continue;
        const error = errorOf(padded, scratch, weights, size, z, most);
        if (!(error < least)) continue;
        least = error;
        bestScale = size;
        bestZero = z;
      }
    }
  }
  store<f32>(scale, bestScale);
  if (zero) store<u8>(zero, <u8>bestZero);
}

/** The sum of weights * (value - x)², n a multiple of 4. */
function errorOf(n: i32, x: usize, weights: usize, scale: f32, zero: f32, most: f32): f32 {
  const scales = f32x4.splat(scale);
  const zeros = f32x4.splat(zero);
  const tops = f32x4.splat(most);
  let sum = f32x4.splat(0);
  for (; n > 0; n -= 4) {
    const values = v128.load(x);
    const levels = f32x4.add(f32x4.nearest(f32x4.div(values, scales)), zeros);
    const codes = clamped(levels, tops);
    const gaps = f32x4.sub(f32x4.mul(f32x4.sub(codes, zeros), scales), values);
    sum = f32x4.add(sum, f32x4.mul(f32x4.mul(v128.load(weights), gaps), gaps));
    x += 16;
    weights += 16;
  }
  return sumLanes(sum);
}

/** Levels as codes: from 0 to the largest. The results of NaN are not used. */
// @ts-ignore: decorator
@inline
export function clamped(levels: v128, tops: v128): v128 {
  return f32x4.pmax(f32x4.splat(0), f32x4.pmin(levels, tops));
}

/**
 * The errors that `errorOf` finds for scale and -scale, in lanes 0 and 1: what one rounds to is what the
 * other does, less its sign. Both are at least `enough` where half of the group makes them so.
 */
function errorsOfSigns(
  n: i32,
  x: usize,
  weights: usize,
  scale: f32,
  zero: f32,
  most: f32,
  enough: f32,
): v128 {
  const scales = f32x4.splat(scale);
  const zeros = f32x4.splat(zero);
  const tops = f32x4.splat(most);
  let plus = f32x4.splat(0);
  let minus = f32x4.splat(0);
  const half = (n >> 1) & ~3;
  let sums = plus;
  for (let i = n; i > 0; i -= 4) {
    const values = v128.load(x);
    const omega = v128.load(weights);
    const steps = f32x4.nearest(f32x4.div(values, scales));
    const up = f32x4.sub(clamped(f32x4.add(zeros, steps), tops), zeros);
    const down = f32x4.sub(clamped(f32x4.sub(zeros, steps), tops), zeros);
    const above = f32x4.sub(f32x4.mul(up, scales), values);
    const below = f32x4.add(f32x4.mul(down, scales), values);
    plus = f32x4.add(plus, f32x4.mul(f32x4.mul(omega, above), above));
    minus = f32x4.add(minus, f32x4.mul(f32x4.mul(omega, below), below));
    x += 16;
    weights += 16;
    if (i - 4 == half) {
      sums = sumsOf(plus, minus);
      if (f32x4.extract_lane(sums, 0) >= enough && f32x4.extract_lane(sums, 1) >= enough) return sums;
    }
  }
  return sumsOf(plus, minus);
}

/** The sums of two vectors' lanes, each as `sumLanes` adds them. */
// @ts-ignore: decorator
@inline
function sumsOf(a: v128, b: v128): v128 {
  return f32x4.replace_lane(f32x4.splat(sumLanes(a)), 1, sumLanes(b));
}
