// What the inner loops of 2:4 products for many tokens (two-four-columns.mjs) call: how they find the column
// of activations that a code names, and whether they have branches.

/**
 * Address of a table, behind that of lib/two-four-swizzle.ts. It has four u16 for each code byte: the bytes
 * before the columns of the code's four values, where columns are of 48 tokens.
 */
const COLUMNS: usize = 0x81000;

/** Writes the table; call once. */
export function fillColumns(): void {
  for (let code = 0; code < 256; code++) {
    for (let value = 0; value < 4; value++) {
      store<u16>(COLUMNS + <usize>(code * 8 + value * 2), ((code >> (2 * value)) & 3) * 192);
    }
  }
}

/** The table for the first row of a pair, 0, or for the second, 1. */
// @ts-ignore: decorator
@inline
export function columnsOf(row: usize): usize {
  return COLUMNS + 4 * row;
}

/** Bytes before the column that two bits of a code name, from bit `place` on. Columns are 2^width bytes. */
// @ts-ignore: decorator
@inline
export function column(code: u32, place: i32, width: i32): usize {
  return <usize>((place > width ? code >> (place - width) : code << (width - place)) & (3 << width));
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
