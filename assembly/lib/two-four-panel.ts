// 2:4 products for many tokens: 16 tokens are copied to a panel that is column-major (a column's 16
// activations are 64 bytes), and each kept weight is multiplied with the panel's column that its
// code names. Columns are taken a block at a time so that their part of the panel stays in the
// first-level cache; sums wait in scratch, [rows, 16], and are transposed on their way out. The
// prepared form of weights is described in kernels/two-four.ts.
//
// The inner loop keeps two rows' sums in eight registers. Its four steps stand in branches that
// are always taken, because V8 before 13 moves all loads of a straight stretch of code to its top,
// and sixteen of them at once do not fit into registers.

import { packRows } from "./pack";
import { madd } from "./simd";

/** Tokens of a panel. */
export const PANEL_TOKENS: i32 = 16;
/** From here on a panel, filled up with zeros, is faster than swizzling. */
export const PANEL_TOKENS_MIN: i32 = 9;

const COLUMN_BYTES: usize = 64;
const BLOCK_GROUPS: i32 = 64;
const BLOCK_ROWS: i32 = 64;

/** Bytes of scratch for panelLinear. */
export function panelScratch(groups: i32): usize {
  return (<usize>groups * 4 + <usize>BLOCK_ROWS) * COLUMN_BYTES;
}

/**
 * out [tokens, rows] = x [tokens, 4 * groups] W^T + bias for at most PANEL_TOKENS tokens.
 *
 * @param bias [rows], or 0 for none
 * @param scratch panelScratch(groups) bytes
 */
export function panelLinear(
  x: usize,
  pairs: usize,
  codes: usize,
  out: usize,
  bias: usize,
  tokens: i32,
  rows: i32,
  groups: i32,
  scratch: usize,
): void {
  const sums = scratch;
  const panel = scratch + <usize>BLOCK_ROWS * COLUMN_BYTES;
  packRows(x, <usize>groups << 4, tokens, groups * 4, PANEL_TOKENS, 1, panel);
  const outStep = <usize>rows << 2;
  for (let row = 0; row < rows; row += BLOCK_ROWS) {
    const count = min(BLOCK_ROWS, rows - row);
    for (let group = 0; group < groups; group += BLOCK_GROUPS) {
      const depth = min(BLOCK_GROUPS, groups - group);
      const columns = panel + <usize>(group * 4) * COLUMN_BYTES;
      let to = sums;
      for (let r = 0; r < count; r += 2) {
        const at = <usize>((row + r) >> 1) * <usize>groups + <usize>group;
        pairOfRows(columns, pairs + (at << 4), codes + at, depth, to, group == 0);
        to += 2 * COLUMN_BYTES;
      }
    }
    const at = <usize>row << 2;
    storeTransposed(sums, count, tokens, out + at, outStep, bias ? bias + at : 0);
  }
}

/** Adds a pair's products with `groups` >= 1 groups of columns to [2, 16] sums, or overwrites them. */
function pairOfRows(
  x: usize,
  pair: usize,
  codes: usize,
  groups: i32,
  sums: usize,
  overwrite: bool,
): void {
  let a0 = f32x4.splat(0);
  let a1 = f32x4.splat(0);
  let a2 = f32x4.splat(0);
  let a3 = f32x4.splat(0);
  let b0 = f32x4.splat(0);
  let b1 = f32x4.splat(0);
  let b2 = f32x4.splat(0);
  let b3 = f32x4.splat(0);
  do {
    // A column's two bits, times the 64 bytes of a column, address the panel. The second slot's
    // column is above 0, so codes are above 3, and above 64 where there is a second row.
    const code = <u32>load<u8>(codes);
    let w: v128;
    let from: usize;
    w = v128.load32_splat(pair);
    from = x + <usize>((code << 6) & 0xc0);
    a0 = madd(w, v128.load(from), a0);
    a1 = madd(w, v128.load(from, 16), a1);
    a2 = madd(w, v128.load(from, 32), a2);
    a3 = madd(w, v128.load(from, 48), a3);
    if (code > 3) {
      w = v128.load32_splat(pair, 4);
      from = x + <usize>((code << 4) & 0xc0);
      a0 = madd(w, v128.load(from), a0);
      a1 = madd(w, v128.load(from, 16), a1);
      a2 = madd(w, v128.load(from, 32), a2);
      a3 = madd(w, v128.load(from, 48), a3);
    }
    if (code > 63) {
      w = v128.load32_splat(pair, 8);
      from = x + <usize>((code << 2) & 0xc0);
      b0 = madd(w, v128.load(from), b0);
      b1 = madd(w, v128.load(from, 16), b1);
      b2 = madd(w, v128.load(from, 32), b2);
      b3 = madd(w, v128.load(from, 48), b3);
    }
    if (code > 64) {
      w = v128.load32_splat(pair, 12);
      from = x + <usize>(code & 0xc0);
      b0 = madd(w, v128.load(from), b0);
      b1 = madd(w, v128.load(from, 16), b1);
      b2 = madd(w, v128.load(from, 32), b2);
      b3 = madd(w, v128.load(from, 48), b3);
    }
    x += 256;
    pair += 16;
    codes++;
    groups--;
  } while (groups);
  if (!overwrite) {
    a0 = f32x4.add(v128.load(sums), a0);
    a1 = f32x4.add(v128.load(sums, 16), a1);
    a2 = f32x4.add(v128.load(sums, 32), a2);
    a3 = f32x4.add(v128.load(sums, 48), a3);
    b0 = f32x4.add(v128.load(sums, 64), b0);
    b1 = f32x4.add(v128.load(sums, 80), b1);
    b2 = f32x4.add(v128.load(sums, 96), b2);
    b3 = f32x4.add(v128.load(sums, 112), b3);
  }
  v128.store(sums, a0);
  v128.store(sums, a1, 16);
  v128.store(sums, a2, 32);
  v128.store(sums, a3, 48);
  v128.store(sums, b0, 64);
  v128.store(sums, b1, 80);
  v128.store(sums, b2, 96);
  v128.store(sums, b3, 112);
}

/** out [tokens, rows] = sums [rows, 16] transposed, plus bias. */
function storeTransposed(
  sums: usize,
  rows: i32,
  tokens: i32,
  out: usize,
  outStep: usize,
  bias: usize,
): void {
  for (; rows >= 4; rows -= 4) {
    const biases = bias ? v128.load(bias) : f32x4.splat(0);
    let to = out;
    let from = sums;
    let t = tokens;
    for (; t >= 4; t -= 4) {
      const r0 = v128.load(from);
      const r1 = v128.load(from, 64);
      const r2 = v128.load(from, 128);
      const r3 = v128.load(from, 192);
      const low01 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
      const low23 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
      const high01 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
      const high23 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
      v128.store(to, f32x4.add(biases, v128.shuffle<f64>(low01, low23, 0, 2)));
      to += outStep;
      v128.store(to, f32x4.add(biases, v128.shuffle<f64>(low01, low23, 1, 3)));
      to += outStep;
      v128.store(to, f32x4.add(biases, v128.shuffle<f64>(high01, high23, 0, 2)));
      to += outStep;
      v128.store(to, f32x4.add(biases, v128.shuffle<f64>(high01, high23, 1, 3)));
      to += outStep;
      from += 16;
    }
    storeRows(from, 4, t, to, outStep, bias);
    sums += 4 * COLUMN_BYTES;
    out += 16;
    if (bias) bias += 16;
  }
  storeRows(sums, rows, tokens, out, outStep, bias);
}

function storeRows(
  sums: usize,
  rows: i32,
  tokens: i32,
  out: usize,
  outStep: usize,
  bias: usize,
): void {
  for (let r = 0; r < rows; r++) {
    const shift: f32 = bias ? load<f32>(bias + (<usize>r << 2)) : 0;
    for (let t = 0; t < tokens; t++) {
      const sum = load<f32>(sums + <usize>r * COLUMN_BYTES + (<usize>t << 2));
      store<f32>(out + <usize>t * outStep + (<usize>r << 2), sum + shift);
    }
  }
}
