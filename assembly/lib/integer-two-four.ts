// 2:4 codes on a symmetric grid as products with int8 activations read them (assembly/two-four-integers.mjs).
// A panel is four rows, one behind the other; beyond the last row all is 0. Eight columns are a unit, of which
// a row keeps four codes: byte 4 r + i of a vector belongs to row r and its kept code i, two of the first group
// of four columns and two of the second. For each group of columns that shares a scale a panel holds
//
//   scales  f32 [4], a row's each
//   and for each run of 32 columns, which is four units:
//     columns  a vector: bits 2 u and 2 u + 1 of a byte tell unit u's column within its four
//     codes    of 8 bits a vector for each unit, as int8; of 4 bits two units in one, the second in the high
//              halves, with the zero point 8

import { RUN_COLUMNS, runsOf } from "./integer-run";

/**
 * 15, 3, 4 of each second pair, and 8, in bytes, from memory: engines rebuild v128 literals at every use.
 */
export const KEPT_LITERALS: usize = memory.data<u32>([0x0f0f0f0f, 0x03030303, 0x04040000, 0x08080808]);

/** Bytes of a run of a panel. */
export function keptRunBytes(bits: i32): usize {
  return bits == 8 ? 80 : 48;
}

const HEADER: usize = 16;

/** Bytes of a panel. */
export function keptPanelBytes(bits: i32, runs: i32, runsAGroup: i32): usize {
  const groups = (runs + runsAGroup - 1) / runsAGroup;
  return <usize>groups * HEADER + <usize>runs * keptRunBytes(bits);
}

/** Bytes of W [rows, cols] in panels. */
export function twoFourIntegerBytes(bits: i32, rows: i32, cols: i32, runsAGroup: i32): usize {
  return <usize>((rows + 3) >> 2) * keptPanelBytes(bits, runsOf(cols), runsAGroup);
}

/**
 * Fills W's panels.
 *
 * @param codes u8 [rows, cols / 2]
 * @param indices u8 [rows, ceil(cols / 8)], the column of each code within its four in 2 bits
 * @param scales f32 [rows, groups]
 * @param offset what is taken from codes
 */
export function twoFourIntegerPrepare(
  bits: i32,
  codes: usize,
  indices: usize,
  scales: usize,
  offset: i32,
  rows: i32,
  cols: i32,
  runsAGroup: i32,
  w: usize,
): void {
  const runs = runsOf(cols);
  const groups = (runs + runsAGroup - 1) / runsAGroup;
  const step = keptPanelBytes(bits, runs, runsAGroup);
  const runBytes = keptRunBytes(bits);
  const width = <usize>((cols + 7) >> 3);
  memory.fill(w, 0, twoFourIntegerBytes(bits, rows, cols, runsAGroup));
  for (let row = 0; row < rows; row++) {
    const lane = row & 3;
    let to = w + <usize>(row >> 2) * step;
    for (let run = 0; run < runs; run++) {
      if (run % runsAGroup == 0) {
        const group = <usize>(row * groups + run / runsAGroup);
        store<f32>(to + (<usize>lane << 2), load<f32>(scales + (group << 2)));
        to += HEADER;
      }
      const count = min(RUN_COLUMNS, cols - run * RUN_COLUMNS) >> 1;
      for (let slot = 0; slot < count; slot++) {
        const unit = slot >> 2;
        const place = to + <usize>((lane << 2) | (slot & 3));
        const byte = <u32>load<u8>(indices + <usize>(run * 4 + unit));
        const column = (byte >> ((slot & 3) << 1)) & 3;
        store<u8>(place, load<u8>(place) | (column << (unit << 1)));
        const code = <i32>load<u8>(codes) - offset;
        const at = place + 16 + (<usize>(bits == 8 ? unit : unit >> 1) << 4);
        if (bits == 8) store<u8>(at, code);
        else store<u8>(at, load<u8>(at) | (code << ((unit & 1) << 2)));
        codes++;
      }
      to += runBytes;
    }
    indices += width;
  }
}

// Of 4 bits: products of codes with activations are below 2^11 and their pairs below 2^12, so that 16-bit sums hold
// a run. Relaxed SIMD adds pairs of activations up beside them, for the zero point; else codes are signed, and
// there is a sum of rows 0 and 1, and one of rows 2 and 3.

// @ts-ignore: decorator
@inline
export function ready4(code: v128, eights: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? code : i8x16.sub(code, eights);
}

// @ts-ignore: decorator
@inline
export function first4(sum: v128, x: v128, code: v128): v128 {
  return i16x8.add(
    sum,
    ASC_FEATURE_RELAXED_SIMD
      ? i16x8.relaxed_dot_i8x16_i7x16_s(x, code)
      : i16x8.extmul_low_i8x16_s(x, code),
  );
}

// @ts-ignore: decorator
@inline
export function second4(sum: v128, x: v128, code: v128): v128 {
  return i16x8.add(
    sum,
    ASC_FEATURE_RELAXED_SIMD ? i16x8.extadd_pairwise_i8x16_s(x) : i16x8.extmul_high_i8x16_s(x, code),
  );
}

// @ts-ignore: decorator
@inline
export function total4(first: v128, second: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) {
    return i32x4.extadd_pairwise_i16x8_s(i16x8.sub(first, i16x8.shl(second, 3)));
  }
  return joined(i32x4.extadd_pairwise_i16x8_s(first), i32x4.extadd_pairwise_i16x8_s(second));
}

// Of 8 bits: a 32-bit sum of rows 0 and 1, and one of rows 2 and 3.

// @ts-ignore: decorator
@inline
export function first8(sum: v128, x: v128, code: v128): v128 {
  const product = i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(x), i16x8.extend_low_i8x16_s(code));
  return i32x4.add(sum, product);
}

// @ts-ignore: decorator
@inline
export function second8(sum: v128, x: v128, code: v128): v128 {
  const product = i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(x), i16x8.extend_high_i8x16_s(code));
  return i32x4.add(sum, product);
}

// @ts-ignore: decorator
@inline
export function total8(first: v128, second: v128): v128 {
  return joined(first, second);
}

/** The rows' sums of two vectors, each with two lanes of two rows. */
// @ts-ignore: decorator
@inline
function joined(first: v128, second: v128): v128 {
  return i32x4.add(
    v128.shuffle<i32>(first, second, 0, 2, 4, 6),
    v128.shuffle<i32>(first, second, 1, 3, 5, 7),
  );
}
