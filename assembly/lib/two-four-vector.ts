// The 2:4 product with one token. Several panels of rows, which lie far apart, are read at once, and each
// from its start and from its middle: a single stream from memory waits at every page. The inner loops are
// generated (two-four-vector.mjs).

import {
  vectorBF16,
  vectorF16,
  vectorF32,
  vectorI8,
} from "../../build/generated/two-four-vector";
import { BF16, F16, F32 } from "./half";

/**
 * out [rows] = x [4 * groups] W^T + bias. For f16, x was multiplied with halfLift(); for i8, with WHOLE_REST.
 *
 * @param bias [rows], or 0 for none
 * @param scales [rows, up to a multiple of 8], or 0 for none
 * @param step bytes of a panel
 * @param groups an even number
 */
export function vectorLinear(
  format: i32,
  x: usize,
  panels: usize,
  step: usize,
  out: usize,
  bias: usize,
  scales: usize,
  rows: i32,
  groups: i32,
): void {
  const panelsLeft = (rows + 7) >> 3;
  const apart = format == F32 ? (panelsLeft + 3) >> 2 : (panelsLeft + 1) >> 1;
  for (let i = 0; i < apart; i++) {
    if (format == F32) vectorF32(x, panels, step, apart, groups, out, bias, scales, rows);
    else if (format == F16) vectorF16(x, panels, step, apart, groups, out, bias, scales, rows);
    else if (format == BF16) vectorBF16(x, panels, step, apart, groups, out, bias, scales, rows);
    else vectorI8(x, panels, step, apart, groups, out, bias, scales, rows);
    rows -= 8;
    panels += step;
    out += 32;
    if (bias) bias += 32;
    if (scales) scales += 32;
  }
}
