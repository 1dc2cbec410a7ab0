/** What sweeps over the columns of a matrix share: a block is done, then the columns after it follow. */
import { type Kernels, TILES, turns } from "./kernels.js";
import { IN_COLUMNS, IN_ROWS, multiply } from "./product.js";

/** A block of columns of a matrix w [rows, cols], and the addresses where it starts. */
export interface ColumnBlock {
  readonly rows: number;
  readonly cols: number;
  readonly start: number;
  readonly width: number;
  readonly w: number;
  /** Address of the block's first diagonal element of u [cols, cols]. */
  readonly u: number;
}

/**
 * Takes errors [rows, width] of a block, times the block's rows of u, off every column of w after it.
 *
 * @param breathe called now and then, to let timers run and to stop
 */
export async function updateTrailing(
  kernels: Kernels,
  block: ColumnBlock,
  errors: number,
  breathe: () => Promise<void>,
): Promise<void> {
  const { rows, cols, start, width, w, u } = block;
  const trailing = cols - start - width;
  const skip = width * 4;
  await breathe();
  if (trailing === 0) return;
  for (const turn of turns(rows, TILES, width * trailing)) {
    multiply(kernels, {
      ...{ m: turn.count, n: trailing, k: width, alpha: -1 },
      a: { at: errors + turn.start * skip, ld: width, layout: IN_ROWS },
      b: { at: u + skip, ld: cols, layout: IN_COLUMNS },
      ...{ out: w + turn.start * cols * 4 + skip, ldo: cols },
    });
    await breathe();
  }
}
