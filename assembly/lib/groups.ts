// Which weights of groups of m go, four groups at a time. A strip holds four groups one after the
// other, [4, m] f32; a panel holds them side by side, [m, 4], so that a vector is one place of all
// four. Marks have all bits set where a weight goes.

import { storeColumns } from "./four-rows";

/** Marks the `drop` smallest of each group of a panel, the lowest place first among equals. */
export function markSmallest(panel: usize, marks: usize, m: i32, drop: i32): void {
  if (m == 4 && drop == 2) {
    markTwoOfFour(panel, marks);
    return;
  }
  const end = panel + (<usize>m << 4);
  const limit = i32x4.splat(drop);
  for (let at = panel; at < end; at += 16) {
    const x = v128.load(at);
    let rank = i32x4.splat(0);
    for (let other = panel; other < at; other += 16) {
      rank = i32x4.sub(rank, f32x4.le(v128.load(other), x));
    }
    for (let other = at + 16; other < end; other += 16) {
      rank = i32x4.sub(rank, f32x4.lt(v128.load(other), x));
    }
    v128.store(marks, i32x4.lt_s(rank, limit));
    marks += 16;
  }
}

/** Of four, a weight is one of the two smallest when it comes before two of the other three. */
function markTwoOfFour(panel: usize, marks: usize): void {
  const a = v128.load(panel);
  const b = v128.load(panel, 16);
  const c = v128.load(panel, 32);
  const d = v128.load(panel, 48);
  const ab = f32x4.le(a, b);
  const ac = f32x4.le(a, c);
  const ad = f32x4.le(a, d);
  const bc = f32x4.le(b, c);
  const bd = f32x4.le(b, d);
  const cd = f32x4.le(c, d);
  v128.store(marks, majority(ab, ac, ad));
  v128.store(marks, majority(v128.not(ab), bc, bd), 16);
  v128.store(marks, majority(v128.not(ac), v128.not(bc), cd), 32);
  v128.store(marks, v128.not(majority(ad, bd, cd)), 48);
}

/** Each bit as most of the three have it. */
// @ts-ignore: decorator
@inline
function majority(a: v128, b: v128, c: v128): v128 {
  return v128.bitselect(c, a, v128.xor(a, b));
}

export function stripToPanel(strip: usize, panel: usize, m: i32): void {
  const step = <usize>m << 2;
  if (m & 3) {
    turn(strip, 4, m, panel);
    return;
  }
  for (let at: usize = 0; at < step; at += 16) turnFour(strip + at, step, panel + (at << 2), 16);
}

export function panelToStrip(panel: usize, strip: usize, m: i32): void {
  const step = <usize>m << 2;
  if (m & 3) {
    turn(panel, m, 4, strip);
    return;
  }
  for (let at: usize = 0; at < step; at += 16) turnFour(panel + (at << 2), 16, strip + at, step);
}

/** to [cols, rows] = the transpose of from [rows, cols]. */
function turn(from: usize, rows: i32, cols: i32, to: usize): void {
  for (let j = 0; j < cols; j++) {
    for (let i = 0; i < rows; i++) {
      store<f32>(to, load<f32>(from + (<usize>(i * cols + j) << 2)));
      to += 4;
    }
  }
}

/** The transpose of a 4x4; steps are the bytes from row to row. */
// @ts-ignore: decorator
@inline
function turnFour(from: usize, fromStep: usize, to: usize, toStep: usize): void {
  const b = v128.load(from + fromStep);
  const c = v128.load(from + 2 * fromStep);
  const d = v128.load(from + 3 * fromStep);
  storeColumns(v128.load(from), b, c, d, to, toStep);
}
