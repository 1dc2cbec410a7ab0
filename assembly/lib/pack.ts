// Copies a block of a matrix into the panels that the micro-kernel reads: groups of `width` (MR
// for A, NR for B) neighbouring rows or columns, depth-major, the last group padded with zeros.
// Any transpose of an operand is done here and nowhere else.

import { storeColumns } from "./four-rows";
import { MAX_NR } from "./micro-kernel";

/** Bytes that are enough for `count` rows or columns of `depth` floats as panels of any width. */
export function panelBytes(count: i32, depth: i32): usize {
  return <usize>(count + MAX_NR - 1) * <usize>depth << 2;
}

/**
 * Panels of neighbouring rows of src [count, depth].
 *
 * @param ld bytes between rows of src
 * @param scale factor on every element
 * @param step bytes between the columns of a panel
 */
export function packRows(
  src: usize,
  ld: usize,
  count: i32,
  depth: i32,
  width: i32,
  scale: f32,
  dst: usize,
  step: usize = <usize>width << 2,
): void {
  for (let i = 0; i < count; i += width) {
    for (let part = 0; part < width; part += 4) {
      const rows = min(count - i, width) - part;
      const to = dst + (<usize>part << 2);
      const from = src + <usize>(i + part) * ld;
      if (rows >= 4) transposeFourRows(from, ld, depth, scale, to, step);
      else if (rows == 3 && width == 3) packThreeRows(from, ld, depth, scale, to);
      else if (rows == 1 && width == 5) packOneRow(from, depth, scale, to, step);
      else if (rows == 2 && width == 6) packTwoRows(from, ld, depth, scale, to, step);
      else packFewRows(from, ld, rows, min(4, width - part), depth, scale, to, step);
    }
    dst += <usize>depth * step;
  }
}

/**
 * Four rows of src as columns: to[k * step + r * 4] = scale * src[r][k].
 *
 * @param last bytes from the first row to the fourth. Where `step` is 12, each column overwrites the fourth
 *   value of the one before, and 4 bytes after the last column are written too.
 */
export function transposeFourRows(
  from: usize,
  ld: usize,
  depth: i32,
  scale: f32,
  to: usize,
  step: usize,
  last: usize = 3 * ld,
): void {
  const factor = f32x4.splat(scale);
  let k = depth;
  for (; k >= 4; k -= 4) {
    const r0 = f32x4.mul(factor, v128.load(from));
    const r1 = f32x4.mul(factor, v128.load(from + ld));
    const r2 = f32x4.mul(factor, v128.load(from + 2 * ld));
    const r3 = f32x4.mul(factor, v128.load(from + last));
    storeColumns(r0, r1, r2, r3, to, step);
    from += 16;
    to += 4 * step;
  }
  for (; k > 0; k--) {
    store<f32>(to, scale * load<f32>(from));
    store<f32>(to, scale * load<f32>(from + ld), 4);
    store<f32>(to, scale * load<f32>(from + 2 * ld), 8);
    store<f32>(to, scale * load<f32>(from + last), 12);
    from += 4;
    to += step;
  }
}

/** A panel of three rows; none of its stores goes beyond it. */
function packThreeRows(from: usize, ld: usize, depth: i32, scale: f32, to: usize): void {
  const most = (depth - 1) & ~3;
  transposeFourRows(from, ld, most, scale, to, 12, 2 * ld);
  const rest = from + (<usize>most << 2);
  packFewRows(rest, ld, 3, 3, depth - most, scale, to + <usize>(12 * most), 12);
}

/** to[k * step] = scale * from[k]. */
function packOneRow(from: usize, depth: i32, scale: f32, to: usize, step: usize): void {
  const factor = f32x4.splat(scale);
  let k = depth;
  for (; k >= 4; k -= 4) {
    const values = f32x4.mul(factor, v128.load(from));
    v128.store_lane<f32>(to, values, 0);
    v128.store_lane<f32>(to + step, values, 1);
    v128.store_lane<f32>(to + 2 * step, values, 2);
    v128.store_lane<f32>(to + 3 * step, values, 3);
    from += 16;
    to += 4 * step;
  }
  for (; k > 0; k--) {
    store<f32>(to, scale * load<f32>(from));
    from += 4;
    to += step;
  }
}

/** to[k * step + r * 4] = scale * from[r][k], r < 2. */
function packTwoRows(
  from: usize,
  ld: usize,
  depth: i32,
  scale: f32,
  to: usize,
  step: usize,
): void {
  const factor = f32x4.splat(scale);
  let k = depth;
  for (; k >= 4; k -= 4) {
    const r0 = f32x4.mul(factor, v128.load(from));
    const r1 = f32x4.mul(factor, v128.load(from + ld));
    const low = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
    const high = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
    v128.store_lane<f64>(to, low, 0);
    v128.store_lane<f64>(to + step, low, 1);
    v128.store_lane<f64>(to + 2 * step, high, 0);
    v128.store_lane<f64>(to + 3 * step, high, 1);
    from += 16;
    to += 4 * step;
  }
  for (; k > 0; k--) {
    store<f32>(to, scale * load<f32>(from));
    store<f32>(to, scale * load<f32>(from + ld), 4);
    from += 4;
    to += step;
  }
}

/** Fewer rows than `width` <= 4, perhaps none: the missing ones become zeros. */
function packFewRows(
  from: usize,
  ld: usize,
  rows: i32,
  width: i32,
  depth: i32,
  scale: f32,
  to: usize,
  step: usize,
): void {
  for (let k = 0; k < depth; k++) {
    let row = from;
    for (let r = 0; r < width; r++) {
      store<f32>(to + (<usize>r << 2), r < rows ? scale * load<f32>(row) : 0);
      row += ld;
    }
    from += 4;
    to += step;
  }
}
