// Codes as products with int8 activations read them (assembly/integer-products.mjs). A panel is four rows,
// one behind the other; beyond the last row all is 0. For each group of columns that shares a scale it holds
//
//   scales  f32 [4], a row's each
//   zeros   i32 [4], of grids that are not symmetric alone
//   codes   for each run of 32 columns and each quad of four, bytes [4 rows][4 columns]: of 8 bits as int8;
//           of 4 bits two quads in one such vector, the second in the high halves
//
// From codes and zero points something was taken, so that the zero point of a symmetric grid, which is not held,
// is 0 for 8 bits and 8 for 4.

import { RUN_COLUMNS } from "./integer-run";

/** Bytes of a run of a panel. */
export function panelRunBytes(bits: i32): usize {
  return <usize>(RUN_COLUMNS * 4 * bits) >> 3;
}

/** Bytes of a panel. */
export function panelBytes(bits: i32, runs: i32, runsAGroup: i32, isSymmetric: bool): usize {
  const groups = (runs + runsAGroup - 1) / runsAGroup;
  return <usize>groups * (isSymmetric ? 16 : 32) + <usize>runs * panelRunBytes(bits);
}

/** Where a run's codes are in a panel, and its group's header. */
// @ts-ignore: decorator
@inline
export function headerOf(bits: i32, run: i32, runsAGroup: i32, isSymmetric: bool): usize {
  const group = run / runsAGroup;
  const header: usize = isSymmetric ? 16 : 32;
  return <usize>group * header + <usize>(group * runsAGroup) * panelRunBytes(bits);
}

// @ts-ignore: decorator
@inline
export function codesOf(bits: i32, run: i32, runsAGroup: i32, isSymmetric: bool): usize {
  const header: usize = isSymmetric ? 16 : 32;
  const group = run / runsAGroup;
  return <usize>(group + 1) * header + <usize>run * panelRunBytes(bits);
}

/** Puts a code into its row of a panel's run, whose bytes were 0. */
// @ts-ignore: decorator
@inline
export function putCode(bits: i32, codes: usize, row: i32, col: i32, code: i32): void {
  const quad = col >> 2;
  const place = <usize>((row << 2) | (col & 3));
  if (bits == 8) store<u8>(codes + (<usize>quad << 4) + place, code);
  else {
    const at = codes + (<usize>(quad >> 1) << 4) + place;
    store<u8>(at, load<u8>(at) | (code << ((quad & 1) << 2)));
  }
}

/** A code of a row of a panel's run. */
// @ts-ignore: decorator
@inline
export function takeCode(bits: i32, codes: usize, row: i32, col: i32): i32 {
  const quad = col >> 2;
  const place = <usize>((row << 2) | (col & 3));
  if (bits == 8) return <i32>load<i8>(codes + (<usize>quad << 4) + place);
  return (<i32>load<u8>(codes + (<usize>(quad >> 1) << 4) + place) >> ((quad & 1) << 2)) & 15;
}
