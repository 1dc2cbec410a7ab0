// Second moments and the sums taken over them.
//
// `hessianColumns` is a symmetric rank-k update: A is x transposed, B is x, and only tiles that
// touch the upper triangle are computed. Sums that end in one number are kept in float64.

import { dotInDouble } from "../lib/dot";
import { NR } from "../lib/micro-kernel";
import { IN_ROWS, multiply, multiplyScratch, NC, PACKED } from "../lib/multiply";
import { panelBytes } from "../lib/pack";
import { packColumns } from "../lib/pack-columns";
import { multiplyPanels, TILE_BYTES, UPPER_RESULT } from "../lib/panels";

/** Bytes of scratch for `hessianColumns` with panels of `depth` tokens. */
export function hessianScratch(n: i32, depth: i32): usize {
  return TILE_BYTES + panelBytes(min(NC, n), depth);
}

/**
 * Columns [first, last) of hessian [n, n] += scale * XᵀX over x [depth, n]; below the diagonal it is
 * left undefined. How columns are cut changes no bit; `first` is a multiple of 24.
 *
 * @param panels x times scale, packed as A in one block of k (`gemmPack`)
 */
export function hessianColumns(
  depth: i32,
  n: i32,
  x: usize,
  panels: usize,
  hessian: usize,
  first: i32,
  last: i32,
  scratch: usize,
): void {
  const ld = <usize>n << 2;
  const bPanels = scratch + TILE_BYTES;
  for (let j = first; j < last; j += NC) {
    const cols = min(NC, last - j);
    const at = <usize>j << 2;
    packColumns(x + at, ld, depth, cols, NR, 1, bPanels);
    multiplyPanels(UPPER_RESULT, -j, j + cols, cols, depth, panels, bPanels, hessian + at, ld, false, scratch);
  }
}

/** Side of the square tiles that `hessianMirror` copies, so that both stay in the cache. */
const MIRROR: i32 = 32;

/** Copies the upper triangle of a [n, n] onto its lower one. */
export function hessianMirror(n: i32, a: usize): void {
  const ld = <usize>n << 2;
  for (let i0 = 0; i0 < n; i0 += MIRROR) {
    const rows = min(n, i0 + MIRROR);
    for (let j0 = 0; j0 <= i0; j0 += MIRROR) {
      for (let i = i0; i < rows; i++) {
        const cols = min(i, j0 + MIRROR);
        let from = a + <usize>j0 * ld + (<usize>i << 2);
        let to = a + <usize>i * ld + (<usize>j0 << 2);
        for (let j = j0; j < cols; j++) {
          store<f32>(to, load<f32>(from));
          from += ld;
          to += 4;
        }
      }
    }
  }
}

/** sums [n] += column sums of squares of x [tokens, n]. scratch: 8 * n bytes of zeros. */
export function hessianColumnSquares(
  tokens: i32,
  n: i32,
  x: usize,
  sums: usize,
  scratch: usize,
): void {
  memory.fill(scratch, 0, <usize>n << 3);
  for (let t = 0; t < tokens; t++) {
    let to = scratch;
    let j = n;
    for (; j >= 4; j -= 4) {
      const v = v128.load(x);
      const low = f64x2.promote_low_f32x4(v);
      const high = f64x2.promote_low_f32x4(v128.shuffle<f32>(v, v, 2, 3, 2, 3));
      v128.store(to, f64x2.add(v128.load(to), f64x2.mul(low, low)));
      v128.store(to, f64x2.add(v128.load(to, 16), f64x2.mul(high, high)), 16);
      x += 16;
      to += 32;
    }
    for (; j > 0; j--) {
      const value = <f64>load<f32>(x);
      store<f64>(to, load<f64>(to) + value * value);
      x += 4;
      to += 8;
    }
  }
  for (let j = 0; j < n; j++) {
    store<f32>(sums, <f32>(<f64>load<f32>(sums) + load<f64>(scratch)));
    sums += 4;
    scratch += 8;
  }
}

/** Bytes of scratch for `hessianQuadraticForm`. */
export function hessianQuadraticScratch(rows: i32, n: i32, count: i32): usize {
  return multiplyScratch(rows, 0, n) + <usize>rows * (<usize>count << 2);
}

/**
 * The share of some columns of a symmetric H [n, n] in trace(D H Dᵀ), with d [rows, n]: the dot product
 * of those columns of D H and of D.
 *
 * @param first the first of `count` columns
 * @param packed those columns as B (`gemmPack`)
 */
export function hessianQuadraticForm(
  rows: i32,
  n: i32,
  d: usize,
  first: i32,
  count: i32,
  packed: usize,
  scratch: usize,
): f64 {
  const ld = <usize>n << 2;
  const ldo = <usize>count << 2;
  const product = scratch + multiplyScratch(rows, 0, n);
  multiply(rows, count, n, d, ld, IN_ROWS, packed, 0, PACKED, product, ldo, 1, true, scratch);
  if (count == n) return dotInDouble(<usize>rows * <usize>n, d, product);
  let sum: f64 = 0;
  for (let row = 0; row < rows; row++) {
    const at = d + <usize>row * ld + (<usize>first << 2);
    sum += dotInDouble(<usize>count, at, product + <usize>row * ldo);
  }
  return sum;
}

/** Sum of squares of `size` elements. */
export function hessianSumOfSquares(size: usize, x: usize): f64 {
  return dotInDouble(size, x, x);
}

/** Number of elements, of `size`, that are NaN or infinite: all exponent bits set. */
export function hessianCountNonFinite(size: usize, x: usize): f64 {
  const exponent = i32x4.splat(0x7f800000);
  let counts = i32x4.splat(0);
  // i32 lanes hold 2^31 - 1 counts each, more than a 4 GiB memory can make.
  for (; size >= 4; size -= 4) {
    const bits = v128.and(v128.load(x), exponent);
    counts = i32x4.sub(counts, i32x4.eq(bits, exponent));
    x += 16;
  }
  let count =
    <f64>i32x4.extract_lane(counts, 0) +
    <f64>i32x4.extract_lane(counts, 1) +
    <f64>i32x4.extract_lane(counts, 2) +
    <f64>i32x4.extract_lane(counts, 3);
  for (; size > 0; size--) {
    if ((load<u32>(x) & 0x7f800000) == 0x7f800000) count += 1;
    x += 4;
  }
  return count;
}
