// The column sweep onto a grid over one block of columns (GPTQ, arXiv 2210.17323). The columns after
// the block are updated by its caller, in one matrix product with the errors [rows, width].
//
// Within a block a row is finished before the next begins, as in column-sweep.ts.

import {
  droppedOf,
  groupSizeOf,
  lowestOf,
  minimumOf,
  mostOf,
  patternOf,
  spanOf,
  tableOf,
  unitsBytes,
  zeroOf,
} from "../lib/grid";
import { fitBlock, fitBlockScratch } from "../lib/grid-blocks";
import { keepLargest, keepScratch } from "../lib/kept";
import { codeIn, fitLevels, fitLevelsScratch, levelIn } from "../lib/grid-levels";
import { subtractScaled } from "../lib/simd";

/** Bytes of scratch for `gridSweepBlock`. */
export function gridSweepScratch(groupSize: i32): usize {
  return max(keepScratch(), max(fitLevelsScratch(groupSize), fitBlockScratch()));
}

/**
 * Puts the columns of one block on the grid, in place.
 *
 * @param start the block's first column, of `width`
 * @param w f32 [rows, cols] from column 0; codes and mask likewise, u8, mask 0 where all are kept;
 *   written where the grid has a pattern
 * @param u the block's first diagonal element
 * @param omega f32 [cols]: what the error of a column weighs
 * @param scales f32 [rows, groups]; zeros likewise, u8, and minima, f32, each 0 where there are none
 * @param units f32 [rows, cols / 256], with minima twice as many; 0 where there are none
 * @param errors f32 [rows, width], written
 * @param grid as in lib/grid.ts
 * @returns the sum of e² / 2
 */
export function gridSweepBlock(
  rows: i32,
  width: i32,
  cols: i32,
  start: i32,
  w: usize,
  u: usize,
  omega: usize,
  codes: usize,
  scales: usize,
  zeros: usize,
  minima: usize,
  units: usize,
  mask: usize,
  errors: usize,
  grid: usize,
  scratch: usize,
): f64 {
  const ld = <usize>cols << 2;
  const size = groupSizeOf(grid);
  const span = spanOf(grid);
  const table = tableOf(grid);
  const lowest = lowestOf(grid);
  const most = mostOf(grid);
  const m = patternOf(grid);
  const drop = droppedOf(grid);
  const groups = max(1, (cols + size - 1) / size);
  let loss: f64 = 0;
  for (let r = 0; r < rows; r++) {
    for (let i = 0; i < width; i++) {
      const j = start + i;
      const group = j / size;
      const at = w + (<usize>j << 2);
      const scaleAt = scales + (<usize>group << 2);
      if (j % span == 0) {
        const maskAt = mask ? mask + <usize>j : 0;
        const weights = omega + (<usize>j << 2);
        if (m > 0) keepLargest(min(span, cols - j), m, drop, at, weights, maskAt, scratch);
        if (units) {
          const minimumAt = minima ? minima + (<usize>group << 2) : 0;
          const unitAt = units + unitsBytes(j, minima);
          fitBlock(at, weights, maskAt, size, grid, scratch, scaleAt, minimumAt, unitAt);
        } else {
          const zeroAt = zeros ? zeros + <usize>group : 0;
          fitLevels(min(size, cols - j), at, weights, maskAt, grid, scratch, scaleAt, zeroAt);
        }
      }
      if (m > 0 && j % m == 0) {
        keepLargest(m, m, drop, at, omega + (<usize>j << 2), mask + <usize>j, scratch);
      }
      const scale = load<f32>(scaleAt);
      const zero = zeroOf(grid, zeros, group);
      const minimum = minimumOf(minima, group);
      const x = load<f32>(at);
      const isKept = mask == 0 || load<u8>(mask + <usize>j) != 0;
      const code = isKept ? codeIn(table, x + minimum, scale, zero, lowest, most) : zero;
      const value = levelIn(table, code, zero) * scale - minimum;
      const row = u + <usize>i * (ld + 4);
      const error = (x - value) / load<f32>(row);
      store<u8>(codes + <usize>j, <u8>code);
      store<f32>(at, value);
      store<f32>(errors + (<usize>i << 2), error);
      loss += <f64>error * <f64>error;
      if (error != 0) subtractScaled(width - i - 1, error, row + 4, at + 4);
    }
    w += ld;
    codes += <usize>cols;
    if (mask) mask += <usize>cols;
    scales += <usize>groups << 2;
    if (zeros) zeros += <usize>groups;
    if (minima) minima += <usize>groups << 2;
    if (units) units += unitsBytes(cols, minima);
    errors += <usize>width << 2;
  }
  return loss / 2;
}
