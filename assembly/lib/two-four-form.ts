// The prepared form of a 2:4 matrix: panels of 8 rows, where missing rows are zeros. A panel is one
// stream of memory. It has an even number of groups of 4 columns, and holds for each:
//   4 bytes    the codes of its four pairs of rows: code of the first row | code of the second << 4;
//              such a byte holds the columns of four values, two bits each, lowest first
//   16 values  four for each pair: the two slots of the first row, then those of the second
// Values have the type T of lib/half.ts, and stand in vectors of four lanes. A lane of 32 bits holds the
// value of one pair, or values of two pairs of 16 bits each, or of four of 8 bits; the first pair's bits are
// the lowest. f16 rows are scaled by a power of two (lib/half-lift.ts).
//
// Products with more than one token read f32. They widen as much of a matrix as they use at a time.

import { BF16, F16, F32, halfLift, halfRest, I8, isHalf, powerOfTwo, sizeOfFormat } from "./half";
import { lifted, rowLift } from "./half-lift";
import { pairBits, pairValues, WHOLE_REST } from "./two-four-values";

/** Rows of a panel. */
export const PANEL_ROWS: i32 = 8;
/** Eight rows of columns 0 and 1: what stands for rows and groups that are missing. */
const NO_CODE: u32 = 0x44444444;

/** The number of groups, with one added where it is odd. */
// @ts-ignore: decorator
@inline
export function evenGroups(groups: i32): i32 {
  return (groups + 1) & ~1;
}

/** Bytes of one group in a panel of T. */
// @ts-ignore: decorator
@inline
export function groupBytes<T>(): usize {
  return 4 + 16 * sizeof<T>();
}

/** Bytes of one group in a panel of a format. */
export function groupStep(format: i32): usize {
  return 4 + 16 * sizeOfFormat(format);
}

/** Bytes of a panel of a format. */
export function panelStep(format: i32, groups: i32): usize {
  return <usize>evenGroups(groups) * groupStep(format);
}

/**
 * Fills `panels`, and for f16 `scales` [rows, up to a multiple of 8]. A product multiplies its sums with
 * the scales, where activations were multiplied with halfLift() and weights were only moved.
 *
 * @param values [rows, 2 * groups] in `format`
 * @param indices 4-bit codes, two a byte, [rows, ceil(groups / 2)]
 */
export function preparePanels(
  format: i32,
  values: usize,
  indices: usize,
  rows: i32,
  groups: i32,
  panels: usize,
  scales: usize,
): void {
  const width = <usize>((groups + 1) >> 1);
  const step = panelStep(format, groups);
  const next = groupStep(format);
  const size = sizeOfFormat(format);
  for (let row = 0; row < rows; row += PANEL_ROWS) {
    memory.fill(panels, 0, step);
    for (let at: usize = 0; at < step; at += next) store<u32>(panels + at, NO_CODE);
    const count = min(PANEL_ROWS, rows - row);
    for (let r = 0; r < count; r++) {
      let lift = 0;
      if (format == F16) {
        lift = rowLift(values, 2 * groups);
        store<f32>(scales + (<usize>(row + r) << 2), halfRest() * powerOfTwo(-lift));
      }
      const shift = (r & 1) << 2;
      let code = panels + <usize>(r >> 1);
      // Four bytes of a lane hold the values of 4 / size pairs.
      const pair = <usize>(r >> 1) * size;
      let to = panels + 4 + ((pair & ~3) << 2) + (pair & 3) + (<usize>(r & 1) << 3);
      for (let group = 0; group < groups; group++) {
        const both = <i32>load<u8>(indices + <usize>(group >> 1));
        const own = (both >> ((group & 1) << 2)) & 15;
        store<u8>(code, (<i32>load<u8>(code) & (0xf0 >> shift)) | (own << shift));
        if (format == F32) store<u64>(to, load<u64>(values));
        else if (format == I8) {
          store<u8>(to, load<u8>(values));
          store<u8>(to, load<u8>(values, 1), 4);
        } else {
          store<u16>(to, lifted(load<u16>(values), lift));
          store<u16>(to, lifted(load<u16>(values, 2), lift), 4);
        }
        code += next;
        to += next;
        values += 2 * size;
      }
      indices += width;
    }
    panels += step;
  }
}

/**
 * Writes a stretch of `groups` groups of a panel to `to`, with f32 values.
 *
 * @param scales of the panel's eight rows; 0 for none
 */
export function widenPanel(format: i32, panel: usize, groups: i32, scales: usize, to: usize): void {
  if (format == F16) widen<u16>(panel, groups, scales, to);
  else if (format == BF16) widen<i16>(panel, groups, 0, to);
  else widen<i8>(panel, groups, scales, to);
}

function widen<T>(panel: usize, groups: i32, scales: usize, to: usize): void {
  const bits = pairBits<T>();
  let s0 = f32x4.splat(1);
  let s1 = s0;
  let s2 = s0;
  let s3 = s0;
  if (scales) {
    const lift = f32x4.splat(isHalf<T>() ? halfLift() : WHOLE_REST);
    const first = f32x4.mul(lift, v128.load(scales));
    const second = f32x4.mul(lift, v128.load(scales, 16));
    s0 = v128.shuffle<f32>(first, first, 0, 0, 1, 1);
    s1 = v128.shuffle<f32>(first, first, 2, 2, 3, 3);
    s2 = v128.shuffle<f32>(second, second, 0, 0, 1, 1);
    s3 = v128.shuffle<f32>(second, second, 2, 2, 3, 3);
  }
  for (; groups > 0; groups--) {
    store<u32>(to, load<u32>(panel));
    const first = v128.load(panel, 4);
    const last = sizeof<T>() == 1 ? first : v128.load(panel, 20);
    v128.store(to, f32x4.mul(s0, pairValues<T>(first, 0, bits)), 4);
    v128.store(to, f32x4.mul(s1, pairValues<T>(first, 1, bits)), 20);
    v128.store(to, f32x4.mul(s2, pairValues<T>(last, 2, bits)), 36);
    v128.store(to, f32x4.mul(s3, pairValues<T>(last, 3, bits)), 52);
    panel += groupBytes<T>();
    to += groupBytes<f32>();
  }
}
