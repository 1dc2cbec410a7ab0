// Scales and minima of a grid with units, as ggml's K types have them, 256 columns of a row at a time.
// Each group is fitted alone, the largest scale and minimum tell the units, and then each group takes of
// the nearest multiples, and those beside them, the best. Sums are in f32 without fused multiply-adds and
// what follows from them in f64, so that every build and the reference choose the same.

import { clamped, factorOf, factorsOf, middleOf, mostOf } from "./grid";
import { sumLanes } from "./simd";

/** Columns whose groups are fitted together. */
const BLOCK: i32 = 256;
/** The largest multiple of a unit where there are minima. */
const MOST_LEVEL: f32 = 63;
/** The multiples where there are none. */
const LEAST_SIGNED: f32 = -128;
const MOST_SIGNED: f32 = 127;

/** Groups of a block, at most. */
const GROUPS: usize = 16;

// Scratch: the block's values and weights, and each group's fit.
const WEIGHTS: usize = <usize>BLOCK << 2;
const FITS: usize = WEIGHTS << 1;
const MINIMA: usize = FITS + (GROUPS << 2);

/** Bytes of scratch for `fitBlock`. */
export function fitBlockScratch(): usize {
  return MINIMA + (GROUPS << 2);
}

/** The half nearest to a value; infinite above the largest one. */
function nearestHalf(value: f32): f32 {
  const size = abs<f32>(value);
  // Below the smallest normal half they are 2^-24 apart.
  if (size < 1.0 / 16384.0) return nearest<f32>(value * 16777216.0) / 16777216.0;
  const bits = reinterpret<u32>(size) + 0xfff + ((reinterpret<u32>(size) >> 13) & 1);
  const half = reinterpret<f32>((bits >> 13) << 13);
  return copysign<f32>(half < 65536 ? half : Infinity, value);
}

/** The level of a multiple of a unit that is nearest to a value. */
function levelOf(unit: f32, value: f32, least: f32, most: f32): f32 {
  if (unit == 0) return 0;
  const level = nearest<f32>(value / unit);
  const below = most < level ? most : level;
  return least < below ? below : least;
}

/** The multiple of a unit that is nearest to a scale, as a grid with units may have it. */
export function unitScale(unit: f32, scale: f32, hasMinima: bool): f32 {
  const least: f32 = hasMinima ? 0 : LEAST_SIGNED;
  return levelOf(unit, scale, least, hasMinima ? MOST_LEVEL : MOST_SIGNED) * unit;
}

/**
 * Fits the scales of a block's groups.
 *
 * @param x f32 [256], f32 weights omega [256], and mask u8 [256], 0 where all are kept
 * @param scales f32 [groups], written; minima likewise, 0 where there are none
 * @param units f32 [1], written; with minima [2]
 */
export function fitBlock(
  x: usize,
  omega: usize,
  mask: usize,
  size: i32,
  grid: usize,
  scratch: usize,
  scales: usize,
  minima: usize,
  units: usize,
): void {
  // NaN where a value is not finite, and then the unit is.
  let broken: f32 = 0;
  for (let i = 0; i < BLOCK; i++) {
    const at = <usize>i << 2;
    const isIn = mask == 0 || load<u8>(mask + <usize>i) != 0;
    const value = isIn ? load<f32>(x + at) : 0;
    broken += value * 0;
    store<f32>(scratch + at, value);
    store<f32>(scratch + at, load<f32>(omega + at), WEIGHTS);
  }
  const groups = BLOCK / size;
  let scale: f32 = 0;
  let minimum: f32 = 0;
  for (let i = 0; i < groups; i++) {
    const own = scratch + (<usize>(i * size) << 2);
    const fit = scratch + FITS + (<usize>i << 2);
    fitGroup(size, own, grid, minima != 0, fit);
    const one = load<f32>(fit);
    const other = load<f32>(fit, MINIMA - FITS);
    if (abs<f32>(one) > abs<f32>(scale)) scale = one;
    if (abs<f32>(other) > abs<f32>(minimum)) minimum = other;
  }
  // The largest scale of a grid around 0 becomes the least level, of which there is no positive.
  const unit = nearestHalf(scale / (minima ? MOST_LEVEL : LEAST_SIGNED)) + broken;
  const minimumUnit = nearestHalf(minimum / MOST_LEVEL);
  store<f32>(units, unit);
  if (minima) store<f32>(units, minimumUnit, 4);
  for (let i = 0; i < groups; i++) {
    const at = <usize>i << 2;
    const own = scratch + (<usize>(i * size) << 2);
    choose(size, own, scratch + FITS + at, unit, minimumUnit, grid, scales + at, minima ? minima + at : 0);
  }
}

/** Stores the best of the multiples of units around a group's fit. */
function choose(
  n: i32,
  x: usize,
  fit: usize,
  unit: f32,
  minimumUnit: f32,
  grid: usize,
  scaleAt: usize,
  minimumAt: usize,
): void {
  const lowest: f32 = minimumAt ? 0 : LEAST_SIGNED;
  const highest: f32 = minimumAt ? MOST_LEVEL : MOST_SIGNED;
  const level = levelOf(unit, load<f32>(fit), lowest, highest);
  const minimumLevel = levelOf(minimumUnit, load<f32>(fit, MINIMA - FITS), 0, MOST_LEVEL);
  const others = minimumAt ? 3 : 1;
  let least: f32 = Infinity;
  let best: f32 = 0;
  let bestMinimum: f32 = 0;
  for (let i = 0; i < 3; i++) {
    const one = level + around(i);
    if (one < lowest || one > highest) continue;
    for (let j = 0; j < others; j++) {
      const other = minimumLevel + around(j);
      if (other < 0 || other > MOST_LEVEL) continue;
      const error = errorOf(n, x, one * unit, other * minimumUnit, grid);
      if (!(error < least)) continue;
      least = error;
      best = one * unit;
      bestMinimum = other * minimumUnit;
    }
  }
  store<f32>(scaleAt, best);
  if (minimumAt) store<f32>(minimumAt, bestMinimum);
}

/** A level itself, the one below, and the one above. */
// @ts-ignore: decorator
@inline
function around(i: i32): f32 {
  return i == 0 ? 0 : i == 1 ? -1 : 1;
}

/**
 * Scale and minimum of the least error among those that fit the codes of some ranges: from the least value to
 * the greatest one, or without minima around 0, where the scale may be negative.
 */
function fitGroup(n: i32, x: usize, grid: usize, hasMinima: bool, fit: usize): void {
  let low: f32 = 0;
  let high = load<f32>(x);
  let extreme: f32 = 0;
  let weight = f32x4.splat(0);
  let linear = weight;
  let square = weight;
  for (let i = 0; i < n; i += 4) {
    const at = x + (<usize>i << 2);
    for (let k: usize = 0; k < 16; k += 4) {
      const value = load<f32>(at + k);
      low = min<f32>(low, value);
      high = max<f32>(high, value);
      if (abs<f32>(value) > abs<f32>(extreme)) extreme = value;
    }
    const omega = v128.load(at, WEIGHTS);
    const weighed = f32x4.mul(omega, v128.load(at));
    weight = f32x4.add(weight, omega);
    linear = f32x4.add(linear, weighed);
    square = f32x4.add(square, f32x4.mul(weighed, v128.load(at)));
  }
  if (!hasMinima) low = 0;
  const span = hasMinima ? high - low : -extreme;
  const middle = middleOf(grid);
  store<f32>(fit, hasMinima && span > 0 ? span / mostOf(grid) : 0);
  store<f32>(fit, -low, MINIMA - FITS);
  const sw = <f64>sumLanes(weight);
  const sx = <f64>sumLanes(linear);
  const sxx = <f64>sumLanes(square);
  const lows = f32x4.splat(low);
  const bottoms = f32x4.splat(-middle);
  const tops = f32x4.splat(mostOf(grid) - middle);
  let least: f64 = Infinity;
  // There is nothing to be fitted where all values are one.
  for (let step = span == 0 ? factorsOf(grid) : 0; step < factorsOf(grid); step++) {
    const inverse = f32x4.splat(factorOf(grid, step) / span);
    let l = f32x4.splat(0);
    let ll = l;
    let xl = l;
    for (let i = 0; i < n; i += 4) {
      const at = x + (<usize>i << 2);
      const values = v128.load(at);
      const levels = f32x4.nearest(f32x4.mul(f32x4.sub(values, lows), inverse));
      const codes = f32x4.pmax(bottoms, f32x4.pmin(levels, tops));
      const weighed = f32x4.mul(v128.load(at, WEIGHTS), codes);
      l = f32x4.add(l, weighed);
      ll = f32x4.add(ll, f32x4.mul(weighed, codes));
      xl = f32x4.add(xl, f32x4.mul(weighed, values));
    }
    const sl = <f64>sumLanes(l);
    const sll = <f64>sumLanes(ll);
    const sxl = <f64>sumLanes(xl);
    const determinant = sw * sll - sl * sl;
    if (hasMinima && !(determinant > 0)) continue;
    let scale = (sw * sxl - sx * sl) / determinant;
    let offset = (sll * sx - sl * sxl) / determinant;
    if (!hasMinima || offset > 0) {
      scale = sxl / sll;
      offset = 0;
    }
    const error = sxx - scale * sxl - offset * sx;
    // Not of another sign than the range, nor NaN where all codes are 0.
    if (!(error < least) || !(scale * <f64>span > 0)) continue;
    least = error;
    store<f32>(fit, <f32>scale);
    store<f32>(fit, <f32>-offset, MINIMA - FITS);
  }
}

/** The sum of weights * (value - x)², n a multiple of 4. */
function errorOf(n: i32, x: usize, scale: f32, minimum: f32, grid: usize): f32 {
  const scales = f32x4.splat(scale);
  const minima = f32x4.splat(minimum);
  const zeros = f32x4.splat(middleOf(grid));
  const tops = f32x4.splat(mostOf(grid));
  let sum = f32x4.splat(0);
  for (; n > 0; n -= 4) {
    const values = v128.load(x);
    const steps = f32x4.nearest(f32x4.div(f32x4.add(values, minima), scales));
    const levels = f32x4.sub(clamped(f32x4.add(steps, zeros), tops), zeros);
    const gaps = f32x4.sub(f32x4.sub(f32x4.mul(levels, scales), minima), values);
    sum = f32x4.add(sum, f32x4.mul(f32x4.mul(v128.load(x, WEIGHTS), gaps), gaps));
    x += 16;
  }
  return sumLanes(sum);
}
