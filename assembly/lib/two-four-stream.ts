// What the inner loops of 2:4 products for many tokens (two-four-columns.mjs) read in the place of a panel of
// weights: its four pairs of rows one after the other. Of every group a pair has its four values, those of the
// first row first, then for each the bytes from the first column of the block to the column that it stood in,
// u32.

import { groupBytes, PANEL_ROWS } from "./two-four-form";

/**
 * Address of a table, behind that of lib/two-four-swizzle.ts. It has four u32 for each code byte: the columns
 * of the code's four values.
 */
const COLUMNS: usize = 0x81000;

/** Writes the table; call once. */
export function fillColumns(): void {
  for (let code = 0; code < 256; code++) {
    for (let value = 0; value < 4; value++) {
      store<u32>(COLUMNS + <usize>(code * 16 + value * 4), (code >> (2 * value)) & 3);
    }
  }
}

/** Bytes of a pair of rows. */
// @ts-ignore: decorator
@inline
export function streamBytes(groups: i32): usize {
  return <usize>groups << 5;
}

/** Bytes of all rows of a panel. */
// @ts-ignore: decorator
@inline
export function streamedBytes(groups: i32): usize {
  return <usize>(PANEL_ROWS / 2) * streamBytes(groups);
}

/**
 * Writes the pairs of a panel.
 *
 * @param panel with f32 values
 * @param groups an even number of them
 * @param column bytes of a column of the tokens that they will be multiplied with
 * @param to streamedBytes(groups) bytes
 */
export function streamPanel(panel: usize, groups: i32, column: usize, to: usize): void {
  const pair = streamBytes(groups);
  const wide = i32x4.splat(<i32>column);
  let start = i32x4.splat(0);
  const step = i32x4.splat(4 * <i32>column);
  for (; groups > 0; groups--) {
    streamFour(panel, panel + 4, start, wide, to);
    streamFour(panel + 1, panel + 20, start, wide, to + pair);
    streamFour(panel + 2, panel + 36, start, wide, to + 2 * pair);
    streamFour(panel + 3, panel + 52, start, wide, to + 3 * pair);
    start = i32x4.add(start, step);
    panel += groupBytes<f32>();
    to += 32;
  }
}

// @ts-ignore: decorator
@inline
function streamFour(code: usize, values: usize, start: v128, wide: v128, to: usize): void {
  const columns = v128.load(<usize>load<u8>(code) << 4, COLUMNS);
  v128.store(to, v128.load(values));
  v128.store(to, i32x4.add(start, i32x4.mul(wide, columns)), 16);
}

/**
 * A condition that always holds. It is left out where A is f32, so that the code stands in a row: for
 * engines that leave loads where they stand. Where A is i32, what follows is a branch.
 */
// @ts-ignore: decorator
@inline
export function apart<A>(holds: bool): bool {
  return isInteger<A>() ? holds : true;
}
