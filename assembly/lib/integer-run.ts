// How the whole sums of a run of 32 columns come to a row's result (src/forms/integer.ts).

/** Bytes before the 32 activations of a run: their scale, and what is added for each unit of a zero point. */
export const TOKEN_HEADER: usize = 16;

/**
 * The masks of 4, 2 and 1 bits, and that of the third of 3 bits, in bytes and then in 16 bits each: from memory,
 * as engines rebuild v128 literals at every use.
 */
export const MASKS: usize = memory.data<u32>([
  0x0f0f0f0f, 0x03030303, 0x01010101, 0x04040404, 0x000f000f, 0x00030003, 0x00010001, 0x00040004,
]);

/** Columns of a run. */
export const RUN_COLUMNS: i32 = 32;

/** Runs of a row, the last of which may be shorter. */
// @ts-ignore: decorator
@inline
export function runsOf(cols: i32): i32 {
  return (cols + RUN_COLUMNS - 1) / RUN_COLUMNS;
}

/** to += sums * scales, rounded after either, in four rows. */
// @ts-ignore: decorator
@inline
export function addRun(to: usize, sums: v128, scales: v128): void {
  const product = f32x4.mul(f32x4.convert_i32x4_s(sums), scales);
  v128.store(to, f32x4.add(v128.load(to), product));
}
