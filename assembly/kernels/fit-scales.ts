// Puts rows of a matrix on a grid, and back.

import {
  groupSizeOf,
  lowestOf,
  minimumOf,
  mostOf,
  spanOf,
  tableOf,
  unitsBytes,
  zeroOf,
} from "../lib/grid";
import { fitBlock, fitBlockScratch } from "../lib/grid-blocks";
import { codeIn, fitLevels, fitLevelsScratch, levelIn } from "../lib/grid-levels";

/** Bytes of scratch for `fitScales`. */
export function fitScalesScratch(groupSize: i32): usize {
  return max(fitLevelsScratch(groupSize), fitBlockScratch());
}

/**
 * @param w f32 [rows, cols]; codes and mask likewise, u8, mask 0 where all are kept
 * @param omega f32 [cols]
 * @param scales f32 [rows, groups]; zeros likewise, u8, and minima, f32, each 0 where there are none
 * @param units f32 [rows, cols / 256], with minima twice as many; 0 where there are none
 * @param grid as in lib/grid.ts
 */
export function fitScales(
  rows: i32,
  cols: i32,
  w: usize,
  omega: usize,
  codes: usize,
  scales: usize,
  zeros: usize,
  minima: usize,
  units: usize,
  mask: usize,
  grid: usize,
  scratch: usize,
): void {
  const size = groupSizeOf(grid);
  const span = spanOf(grid);
  const table = tableOf(grid);
  const lowest = lowestOf(grid);
  const most = mostOf(grid);
  for (let r = 0; r < rows; r++) {
    for (let first = 0; first < cols; first += size) {
      const n = min(size, cols - first);
      const at = <usize>first << 2;
      const maskAt = mask ? mask + <usize>first : 0;
      if (units == 0) fitLevels(n, w + at, omega + at, maskAt, grid, scratch, scales, zeros);
      else if (first % span == 0) {
        const unitAt = units + unitsBytes(first, minima);
        fitBlock(w + at, omega + at, maskAt, size, grid, scratch, scales, minima, unitAt);
      }
      const scale = load<f32>(scales);
      const zero = zeroOf(grid, zeros, 0);
      const minimum = minimumOf(minima, 0);
      for (let j = first; j < first + n; j++) {
        const isKept = mask == 0 || load<u8>(mask + <usize>j) != 0;
        const x = load<f32>(w + (<usize>j << 2)) + minimum;
        store<u8>(codes + <usize>j, <u8>(isKept ? codeIn(table, x, scale, zero, lowest, most) : zero));
      }
      scales += 4;
      if (zeros) zeros++;
      if (minima) minima += 4;
    }
    w += <usize>cols << 2;
    codes += <usize>cols;
    if (mask) mask += <usize>cols;
    if (units) units += unitsBytes(cols, minima);
  }
}

/** out f32 [rows, cols] = the values of a grid; arguments as above. */
export function fromGrid(
  rows: i32,
  cols: i32,
  codes: usize,
  scales: usize,
  zeros: usize,
  minima: usize,
  grid: usize,
  out: usize,
): void {
  const size = groupSizeOf(grid);
  const table = tableOf(grid);
  for (let r = 0; r < rows; r++) {
    for (let first = 0; first < cols; first += size) {
      const scale = load<f32>(scales);
      const zero = zeroOf(grid, zeros, 0);
      const minimum = minimumOf(minima, 0);
      for (let j = min(size, cols - first); j > 0; j--) {
        store<f32>(out, levelIn(table, <f32>load<u8>(codes), zero) * scale - minimum);
        codes++;
        out += 4;
      }
      scales += 4;
      if (zeros) zeros++;
      if (minima) minima += 4;
    }
  }
}
