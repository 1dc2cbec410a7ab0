// Codes as products with int8 activations read them (assembly/integer-products.mjs). A panel is four rows,
// one behind the other; beyond the last row all is 0. For each group of columns that shares a scale it holds
//
//   scales  f32 [4], a row's each, or their upper halves where these are bf16, or as f16
//   zeros   i8 [4], of grids that are not symmetric alone
//   codes   for each run of 32 columns and each quad of four, bytes [4 rows][4 columns], as many quads in a
//           vector of 16 bytes as their bits allow, the first in the lowest bits of each byte. Of 3 bits
//           there are two vectors of the lower two bits, and one of the upper ones. Of 8 bits a quad is int8
//           [2 halves][4 rows][2 columns]
//
// From codes and zero points of 8 bits 128 was taken. The zero point of a symmetric grid, which is not held,
// is 0 for 8 bits, and else the one that its bits give it.

import { RUN_COLUMNS } from "./integer-run";

/** What scales are held as. */
export const F16_SCALES: i32 = 0;
export const BF16_SCALES: i32 = 1;
export const F32_SCALES: i32 = 2;

/** Sign and bits of an f16 within an f32, and 2^112, which this is then short of; from memory like MASKS. */
const LIFT: usize = memory.data<u32>([0x8fffffff, 0x77800000]);

/** The zero point of symmetric grids, as codes are held. */
// @ts-ignore: decorator
@inline
export function evenZero(bits: i32): i32 {
  return bits == 8 ? 0 : 1 << (bits - 1);
}

/** Bytes of a run of a panel. */
// @ts-ignore: decorator
@inline
export function panelRunBytes(bits: i32): usize {
  return <usize>(RUN_COLUMNS * 4 * bits) >> 3;
}

/** Bytes before the codes of a group of a panel. */
// @ts-ignore: decorator
@inline
export function headerBytes(scaleType: i32, isSymmetric: bool): usize {
  return (scaleType == F32_SCALES ? 16 : 8) + (isSymmetric ? 0 : 4);
}

/** Bytes of a panel. */
export function panelBytes(
  bits: i32,
  runs: i32,
  runsAGroup: i32,
  isSymmetric: bool,
  scaleType: i32,
): usize {
  const groups = (runs + runsAGroup - 1) / runsAGroup;
  return <usize>groups * headerBytes(scaleType, isSymmetric) + <usize>runs * panelRunBytes(bits);
}

/** Where the header of a run's group is in a panel. */
// @ts-ignore: decorator
@inline
export function headerOf(
  bits: i32,
  run: i32,
  runsAGroup: i32,
  isSymmetric: bool,
  scaleType: i32,
): usize {
  const group = run / runsAGroup;
  const before = <usize>(group * runsAGroup) * panelRunBytes(bits);
  return <usize>group * headerBytes(scaleType, isSymmetric) + before;
}

/** Where a run's codes are in a panel. */
// @ts-ignore: decorator
@inline
export function codesOf(
  bits: i32,
  run: i32,
  runsAGroup: i32,
  isSymmetric: bool,
  scaleType: i32,
): usize {
  const group = run / runsAGroup;
  const headers = <usize>(group + 1) * headerBytes(scaleType, isSymmetric);
  return headers + <usize>run * panelRunBytes(bits);
}

/** The scales at a header, f32 [4]. */
// @ts-ignore: decorator
@inline
export function scalesAt(header: usize, scaleType: i32): v128 {
  if (scaleType == F32_SCALES) return v128.load(header);
  const halves = v128.load16x4_s(header);
  if (scaleType == BF16_SCALES) return i32x4.shl(halves, 16);
  // The sign went into all upper bits.
  const placed = v128.and(i32x4.shl(halves, 13), v128.load32_splat(LIFT));
  return f32x4.mul(placed, v128.load32_splat(LIFT, 4));
}

/** The zero points at a header, i32 [4]. */
// @ts-ignore: decorator
@inline
export function zerosAt(header: usize, scaleType: i32): v128 {
  const bytes = v128.load32_zero(header + (scaleType == F32_SCALES ? 16 : 8));
  return i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(bytes));
}

/** The place of a code among the 16 bytes of its quad. */
// @ts-ignore: decorator
@inline
function placeOf(bits: i32, row: i32, col: i32): usize {
  if (bits == 8) return <usize>(((col & 2) << 2) | (row << 1) | (col & 1));
  return <usize>((row << 2) | (col & 3));
}

/** Puts bits of a code where `bits` of each have their vectors, whose bytes were 0. */
// @ts-ignore: decorator
@inline
function putBits(bits: i32, codes: usize, row: i32, col: i32, code: i32): void {
  const quads = 8 / bits;
  const quad = col >> 2;
  const at = codes + (<usize>(quad / quads) << 4) + placeOf(bits, row, col);
  store<u8>(at, load<u8>(at) | (code << (bits * (quad % quads))));
}

// @ts-ignore: decorator
@inline
function takeBits(bits: i32, codes: usize, row: i32, col: i32): i32 {
  const quads = 8 / bits;
  const quad = col >> 2;
  const byte = <i32>load<u8>(codes + (<usize>(quad / quads) << 4) + placeOf(bits, row, col));
  return (byte >> (bits * (quad % quads))) & ((1 << bits) - 1);
}

/** Puts a code into its row of a panel's run, whose bytes were 0. */
export function putCode(bits: i32, codes: usize, row: i32, col: i32, code: i32): void {
  if (bits != 3) putBits(bits, codes, row, col, code);
  else {
    putBits(2, codes, row, col, code & 3);
    putBits(1, codes + 32, row, col, code >> 2);
  }
}

/** A code of a row of a panel's run. */
export function takeCode(bits: i32, codes: usize, row: i32, col: i32): i32 {
  if (bits == 3) return takeBits(2, codes, row, col) | (takeBits(1, codes + 32, row, col) << 2);
  const code = takeBits(bits, codes, row, col);
  return bits == 8 ? <i32>(<i8>code) : code;
}
