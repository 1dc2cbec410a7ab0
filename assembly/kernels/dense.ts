// Products y = x Wᵀ + bias with dense weights of few bits, in the formats of lib/half.ts. For one token
// the weights are read as they are; for more, some rows at a time are widened.
//
// In prepared form W [rows, cols] is as stored, except that f16 rows are times a power of two
// (lib/half-lift.ts). f16 and i8 have f32 scales [rows].

import { denseVector } from "../lib/dense-vector";
import { FEW_TOKENS, multiplyFewTokens } from "../lib/few-tokens";
import {
  BF16,
  F16,
  F32,
  halfLift,
  halfRest,
  high,
  I8,
  isHalf,
  low,
  movedBits,
  powerOfTwo,
  scaleFloats,
  single,
  sizeOfFormat,
} from "../lib/half";
import { lifted, rowLift } from "../lib/half-lift";
import { IN_ROWS, multiply, multiplyScratch, PACKED } from "../lib/multiply";
import { gemmFillRows } from "./gemm";

/** Rows that are widened at a time, for few tokens and for more. They should stay in a cache. */
const FEW_ROWS: i32 = 8;
const BLOCK_ROWS: i32 = 192;

/** Fills w [rows, cols], and scales for f16, from `from`. */
export function densePrepare(
  format: i32,
  from: usize,
  rows: i32,
  cols: i32,
  w: usize,
  scales: usize,
): void {
  if (format != F16) {
    memory.copy(w, from, <usize>rows * <usize>cols * sizeOfFormat(format));
    return;
  }
  for (; rows > 0; rows--) {
    const lift = rowLift(from, cols);
    store<f32>(scales, halfRest() * powerOfTwo(-lift));
    scales += 4;
    for (let col = 0; col < cols; col++) {
      store<u16>(w, lifted(load<u16>(from), lift));
      from += 2;
      w += 2;
    }
  }
}

/** `count` rows of prepared weights from `row` on as f32 in `to`. */
export function denseWiden(
  format: i32,
  w: usize,
  scales: usize,
  row: i32,
  count: i32,
  cols: i32,
  to: usize,
): void {
  const step = <usize>cols * sizeOfFormat(format);
  w += <usize>row * step;
  if (format == F32) {
    memory.copy(to, w, <usize>count * step);
    return;
  }
  for (; count > 0; count--) {
    const scale: f32 = scales ? load<f32>(scales + (<usize>row << 2)) : 1;
    if (format == F16) widenRow<u16>(w, cols, halfLift() * scale, to);
    else if (format == BF16) widenRow<i16>(w, cols, 1, to);
    else widenRow<i8>(w, cols, scale, to);
    row++;
    w += step;
    to += <usize>cols << 2;
  }
}

function widenRow<T>(w: usize, count: i32, scale: f32, to: usize): void {
  const moved = movedBits();
  const factor = f32x4.splat(scale);
  for (; count >= 8; count -= 8) {
    const eight = sizeof<T>() == 1 ? v128.load_ext<i8>(w) : v128.load(w);
    v128.store(to, f32x4.mul(factor, low<T>(eight, moved)));
    v128.store(to, f32x4.mul(factor, high<T>(eight, moved)), 16);
    w += 8 * sizeof<T>();
    to += 32;
  }
  for (; count > 0; count--) {
    store<f32>(to, scale * single<T>(w));
    w += sizeof<T>();
    to += 4;
  }
}

/** Bytes of scratch for denseRows. */
export function denseScratch(format: i32, tokens: i32, rows: i32, cols: i32): usize {
  const row = <usize>cols << 2;
  if (tokens == 1) return format == F16 ? (row + 15) & ~15 : 0;
  if (tokens <= FEW_TOKENS) return <usize>FEW_ROWS * row;
  const block = min(BLOCK_ROWS, rows);
  return ((<usize>block * row + 63) & ~63) + multiplyScratch(0, block, cols);
}

/**
 * Rows [first, last) of out [tokens, rows] = x [tokens, cols] W^T + bias, W in prepared form. Cutting
 * the rows changes no result.
 *
 * @param x packed as A (`gemmPack`) where there are more than GEMM_FEW_TOKENS
 * @param bias [rows], or 0 for none
 * @param scratch denseScratch(format, tokens, last - first, cols) bytes
 */
export function denseRows(
  format: i32,
  x: usize,
  w: usize,
  scales: usize,
  out: usize,
  bias: usize,
  tokens: i32,
  rows: i32,
  cols: i32,
  first: i32,
  last: i32,
  scratch: usize,
): void {
  const ldo = <usize>rows << 2;
  const step = tokens == 1 ? last - first : tokens <= FEW_TOKENS ? FEW_ROWS : BLOCK_ROWS;
  for (let row = first; row < last; row += step) {
    const count = min(step, last - row);
    const at = <usize>row << 2;
    const to = out + at;
    const own = bias ? bias + at : 0;
    if (tokens == 1) {
      oneToken(format, x, w, scales ? scales + at : 0, to, own, row, count, cols, scratch);
      return;
    }
    denseWiden(format, w, scales, row, count, cols, scratch);
    const few = tokens <= FEW_TOKENS;
    if (own || few) {
      for (let t = 0; t < tokens; t++) gemmFillRows(1, count, own, to + <usize>t * ldo);
    }
    if (few) {
      multiplyFewTokens(tokens, count, cols, x, scratch, to, rows);
    } else {
      const ld = <usize>cols << 2;
      const work = scratch + ((<usize>count * ld + 63) & ~63);
      multiply(tokens, count, cols, x, 0, PACKED, scratch, ld, IN_ROWS, to, ldo, 1, !own, work);
    }
  }
}

function oneToken(
  format: i32,
  x: usize,
  w: usize,
  scales: usize,
  out: usize,
  bias: usize,
  row: i32,
  rows: i32,
  cols: i32,
  scratch: usize,
): void {
  w += <usize>row * <usize>cols * sizeOfFormat(format);
  if (format == F32) denseVector<f32>(x, w, out, bias, 0, rows, cols);
  else if (format == BF16) denseVector<i16>(x, w, out, bias, 0, rows, cols);
  else if (format == I8) denseVector<i8>(x, w, out, bias, scales, rows, cols);
  else {
    scaleFloats(cols, halfLift(), x, scratch);
    denseVector<u16>(scratch, w, out, bias, scales, rows, cols);
  }
}
