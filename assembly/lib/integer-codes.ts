// Codes on a grid in the panels that products with int8 activations read (lib/integer-panel.ts), of 8 or 4 bits.

import { codesOf, headerOf, panelBytes, putCode, takeCode } from "./integer-panel";
import { RUN_COLUMNS, runsOf } from "./integer-run";

/** The zero point of symmetric grids, as codes are held. */
// @ts-ignore: decorator
@inline
function evenZero(bits: i32): i32 {
  return bits == 8 ? 0 : 8;
}

/** Bytes of W [rows, cols] in panels. */
export function integerBytes(
  bits: i32,
  rows: i32,
  cols: i32,
  runsAGroup: i32,
  isSymmetric: bool,
): usize {
  const panels = <usize>((rows + 3) >> 2);
  return panels * panelBytes(bits, runsOf(cols), runsAGroup, isSymmetric);
}

/**
 * Fills W's panels.
 *
 * @param codes u8 [rows, cols]
 * @param scales f32 [rows, groups]
 * @param zeros u8 [rows, groups], of grids that are not symmetric
 * @param offset what is taken from codes and zero points
 */
export function integerPrepare(
  bits: i32,
  codes: usize,
  scales: usize,
  zeros: usize,
  offset: i32,
  rows: i32,
  cols: i32,
  runsAGroup: i32,
  isSymmetric: bool,
  w: usize,
): void {
  const runs = runsOf(cols);
  const groups = (runs + runsAGroup - 1) / runsAGroup;
  const step = panelBytes(bits, runs, runsAGroup, isSymmetric);
  memory.fill(w, 0, integerBytes(bits, rows, cols, runsAGroup, isSymmetric));
  for (let row = 0; row < rows; row++) {
    const panel = w + <usize>(row >> 2) * step;
    const lane = row & 3;
    for (let run = 0; run < runs; run++) {
      if (run % runsAGroup == 0) {
        const header = panel + headerOf(bits, run, runsAGroup, isSymmetric) + (<usize>lane << 2);
        const group = <usize>(row * groups + run / runsAGroup);
        store<f32>(header, load<f32>(scales + (group << 2)));
        if (!isSymmetric) store<i32>(header, <i32>load<u8>(zeros + group) - offset, 16);
      }
      const to = panel + codesOf(bits, run, runsAGroup, isSymmetric);
      const count = min(RUN_COLUMNS, cols - run * RUN_COLUMNS);
      for (let col = 0; col < count; col++) {
        putCode(bits, to, lane, col, <i32>load<u8>(codes) - offset);
        codes++;
      }
    }
  }
}

/** Row `row` of W as f32, in to [cols]. */
export function integerRow(
  bits: i32,
  w: usize,
  row: i32,
  cols: i32,
  runsAGroup: i32,
  isSymmetric: bool,
  to: usize,
): void {
  const runs = runsOf(cols);
  const panel = w + <usize>(row >> 2) * panelBytes(bits, runs, runsAGroup, isSymmetric);
  const lane = row & 3;
  for (let run = 0; run < runs; run++) {
    const header = panel + headerOf(bits, run, runsAGroup, isSymmetric) + (<usize>lane << 2);
    const scale = load<f32>(header);
    const zero = isSymmetric ? evenZero(bits) : load<i32>(header, 16);
    const codes = panel + codesOf(bits, run, runsAGroup, isSymmetric);
    const count = min(RUN_COLUMNS, cols - run * RUN_COLUMNS);
    for (let col = 0; col < count; col++) {
      store<f32>(to, <f32>(takeCode(bits, codes, lane, col) - zero) * scale);
      to += 4;
    }
  }
}
