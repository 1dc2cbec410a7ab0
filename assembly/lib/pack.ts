// Copies a block of a matrix into the panels that the micro-kernel reads: groups of `width` (MR
// for A, NR for B) neighbouring rows or columns, depth-major, the last group padded with zeros.
// Any transpose of an operand is done here and nowhere else.

import { MAX_NR } from "./micro-kernel";

/**
 * Bytes that are enough for `count` rows or columns of `depth` floats as panels of any width. Four
 * rows are stored at a time, also where a panel has three: hence the 16 bytes at the end.
 */
export function panelBytes(count: i32, depth: i32): usize {
  return (<usize>(count + MAX_NR - 1) * <usize>depth << 2) + 16;
}

/** Columns packed together, whole lines of the cache for the most part: a multiple of every width. */
const STRIP: i32 = 48;

/**
 * Panels of neighbouring columns of src [depth, count].
 *
 * @param ld bytes between rows of src
 * @param scale factor on every element
 * @param room steps of k that a panel has room for; the missing ones are left as they are
 */
export function packColumns(
  src: usize,
  ld: usize,
  depth: i32,
  count: i32,
  width: i32,
  scale: f32,
  dst: usize,
  room: i32 = depth,
): void {
  const panel = <usize>room * (<usize>width << 2);
  // A panel of three is read and stored as four: one more column must stand behind it.
  const full = (width == 3 ? max(0, count - 1) : count) / width;
  const strip = STRIP / width;
  for (let i = 0; i < full; i += strip) {
    const from = src + <usize>(i * width * 4);
    packStrip(from, ld, depth, min(strip, full - i), width, scale, dst + <usize>i * panel, panel);
  }
  const done = full * width;
  if (done == count) return;
  const rest = src + (<usize>done << 2);
  packFewColumns(rest, ld, depth, count - done, scale, dst + <usize>full * panel, width);
}

function packStrip(
  from: usize,
  ld: usize,
  depth: i32,
  panels: i32,
  width: i32,
  scale: f32,
  dst: usize,
  panel: usize,
): void {
  const factor = f32x4.splat(scale);
  const step = <usize>width << 2;
  const first = from;
  let firstTo = dst;
  for (let k = depth; k > 0; k--) {
    let at = from;
    let to = dst;
    for (let i = panels; i > 0; i--) {
      v128.store(to, f32x4.mul(factor, v128.load(at)));
      if (width > 4) v128.store(to, f32x4.mul(factor, v128.load(at, 16)), 16);
      if (width > 8) v128.store(to, f32x4.mul(factor, v128.load(at, 32)), 32);
      at += step;
      to += panel;
    }
    from += ld;
    dst += step;
  }
  if (width > 3) return;
  // The fourth value of a panel's last step went to the first of the next panel.
  for (let at = step; at < <usize>panels * step; at += step) {
    firstTo += panel;
    store<f32>(firstTo, scale * load<f32>(first + at));
  }
}

/** The last group of columns, perhaps fewer than `width`: the missing ones become zeros. */
function packFewColumns(
  from: usize,
  ld: usize,
  depth: i32,
  cols: i32,
  scale: f32,
  to: usize,
  width: i32,
): void {
  for (let k = 0; k < depth; k++) {
    for (let i = 0; i < width; i++) {
      const at = <usize>i << 2;
      store<f32>(to + at, i < cols ? scale * load<f32>(from + at) : 0);
    }
    from += ld;
    to += <usize>width << 2;
  }
}

/**
 * Panels of neighbouring rows of src [count, depth].
 *
 * @param ld bytes between rows of src
 * @param scale factor on every element
 */
export function packRows(
  src: usize,
  ld: usize,
  count: i32,
  depth: i32,
  width: i32,
  scale: f32,
  dst: usize,
): void {
  const step = <usize>width << 2;
  for (let i = 0; i < count; i += width) {
    for (let part = 0; part < width; part += 4) {
      const rows = min(count - i, width) - part;
      const to = dst + (<usize>part << 2);
      const from = src + <usize>(i + part) * ld;
      if (rows >= 4) transposeFourRows(from, ld, depth, scale, to, step);
      else if (rows == width) transposeFourRows(from, ld, depth, scale, to, step, 2 * ld);
      else packFewRows(from, ld, rows, min(4, width), depth, scale, to, step);
    }
    dst += <usize>depth * step;
  }
}

/**
 * Four rows of src as columns: to[k * step + r * 4] = scale * src[r][k].
 *
 * @param last bytes from the first row to the fourth. Where step is 12, every k overwrites the
 *   fourth value of the one before, and 4 bytes after the last are written too.
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
    const low01 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
    const low23 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
    const high01 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
    const high23 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
    v128.store(to, v128.shuffle<f64>(low01, low23, 0, 2));
    v128.store(to + step, v128.shuffle<f64>(low01, low23, 1, 3));
    v128.store(to + 2 * step, v128.shuffle<f64>(high01, high23, 0, 2));
    v128.store(to + 3 * step, v128.shuffle<f64>(high01, high23, 1, 3));
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
