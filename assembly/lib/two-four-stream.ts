// What the inner loops of 2:4 products for many tokens (two-four-columns.mjs) read in the place of a panel of
// weights: its eight rows one after the other. Of every two groups a row has its four values, then for each the
// bytes from the first column of the block to the column that it stood in, u32.

import { PANEL_ROWS } from "./two-four-form";

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

/** Bytes of a row. */
// @ts-ignore: decorator
@inline
export function streamBytes(groups: i32): usize {
  return <usize>groups << 4;
}

/**
 * Writes the rows of a panel.
 *
 * @param panel with f32 values
 * @param groups an even number of them
 * @param column bytes of a column of the tokens that they will be multiplied with
 * @param to PANEL_ROWS * streamBytes(groups) bytes
 */
export function streamPanel(panel: usize, groups: i32, column: usize, to: usize): void {
  const row = streamBytes(groups);
  const wide = i32x4.splat(<i32>column);
  for (let group = 0; group < groups; group++) {
    const start = i32x4.splat(group * 4 * <i32>column);
    let at = to + (<usize>(group >> 1) << 5) + (<usize>(group & 1) << 3);
    for (let pair: usize = 0; pair < <usize>(PANEL_ROWS / 2); pair++) {
      const values = v128.load(panel + (pair << 4), 4);
      const columns = v128.load(COLUMNS + (<usize>load<u8>(panel + pair) << 4));
      const from = i32x4.add(start, i32x4.mul(wide, columns));
      v128.store_lane<f64>(at, values, 0);
      v128.store_lane<f64>(at, from, 0, 16);
      at += row;
      v128.store_lane<f64>(at, values, 1);
      v128.store_lane<f64>(at, from, 1, 16);
      at += row;
    }
    panel += 68;
  }
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
