// Puts rows of a matrix on a grid, and back.

import { codeOf, fitGroup, fitGroupScratch, groupSizeOf, mostOf, zeroOf } from "../lib/grid";

/** Bytes of scratch for `fitScales`. */
export function fitScalesScratch(groupSize: i32): usize {
  return fitGroupScratch(groupSize);
}

/**
 * @param w f32 [rows, cols]; codes and mask likewise, u8, mask 0 where all are kept
 * @param omega f32 [cols]
 * @param scales f32 [rows, groups]; zeros likewise, u8, 0 of symmetric grids
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
  mask: usize,
  grid: usize,
  scratch: usize,
): void {
  const size = groupSizeOf(grid);
  const most = mostOf(grid);
  for (let r = 0; r < rows; r++) {
    for (let first = 0; first < cols; first += size) {
      const n = min(size, cols - first);
      const at = <usize>first << 2;
      const maskAt = mask ? mask + <usize>first : 0;
      fitGroup(n, w + at, omega + at, maskAt, grid, scratch, scales, zeros);
      const scale = load<f32>(scales);
      const zero = zeroOf(grid, zeros, 0);
      for (let j = first; j < first + n; j++) {
        const isKept = mask == 0 || load<u8>(mask + <usize>j) != 0;
        const code = isKept ? codeOf(load<f32>(w + (<usize>j << 2)), scale, zero, most) : zero;
        store<u8>(codes + <usize>j, <u8>code);
      }
      scales += 4;
      if (zeros) zeros++;
    }
    w += <usize>cols << 2;
    codes += <usize>cols;
    if (mask) mask += <usize>cols;
  }
}

/** out f32 [rows, cols] = the values of a grid; arguments as above. */
export function fromGrid(
  rows: i32,
  cols: i32,
  codes: usize,
  scales: usize,
  zeros: usize,
  grid: usize,
  out: usize,
): void {
  const size = groupSizeOf(grid);
  for (let r = 0; r < rows; r++) {
    for (let first = 0; first < cols; first += size) {
      const scale = load<f32>(scales);
      const zero = zeroOf(grid, zeros, 0);
      for (let j = min(size, cols - first); j > 0; j--) {
        store<f32>(out, (<f32>load<u8>(codes) - zero) * scale);
        codes++;
        out += 4;
      }
      scales += 4;
      if (zeros) zeros++;
    }
  }
}
