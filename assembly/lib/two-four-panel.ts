// 2:4 products for many tokens: 32 tokens are copied to a panel that is column-major (a column's 32
// activations are 128 bytes), and each kept weight is multiplied with the panel's column that its
// code names. Columns are taken a block at a time so that their part of the panel stays in the
// first-level cache; sums wait in scratch, [rows, 32], and are transposed on their way out. The
// prepared form of weights is described in kernels/two-four.ts.

import { packRows } from "./pack";
import { madd } from "./simd";

/** Tokens of a panel. */
export const PANEL_TOKENS: i32 = 32;
/** From here on a panel, filled up with zeros, is faster than swizzling. */
export const PANEL_TOKENS_MIN: i32 = 20;

const COLUMN_BYTES: usize = 128;
const BLOCK_GROUPS: i32 = 32;
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
        firstOfPair(columns, pairs + (at << 4), codes + at, depth, to, group == 0);
        to += COLUMN_BYTES;
        if (r + 1 < count) secondOfPair(columns, pairs + (at << 4), codes + at, depth, to, group == 0);
        to += COLUMN_BYTES;
      }
    }
    if (groups == 0) memory.fill(sums, 0, <usize>count * COLUMN_BYTES);
    storeTransposed(sums, count, tokens, out + (<usize>row << 2), outStep, bias ? bias + (<usize>row << 2) : 0);
  }
}

function firstOfPair(x: usize, pair: usize, codes: usize, groups: i32, sums: usize, overwrite: bool): void {
  rowOfPair(x, pair, codes, groups, sums, overwrite, 0);
}

function secondOfPair(x: usize, pair: usize, codes: usize, groups: i32, sums: usize, overwrite: bool): void {
  rowOfPair(x, pair, codes, groups, sums, overwrite, 1);
}

/** Adds one row's products with `groups` >= 1 groups of columns to 32 sums, or overwrites them. */
// @ts-ignore: decorator
@inline
function rowOfPair(
  x: usize,
  pair: usize,
  codes: usize,
  groups: i32,
  sums: usize,
  overwrite: bool,
  half: i32,
): void {
  let s0 = f32x4.splat(0);
  let s1 = f32x4.splat(0);
  let s2 = f32x4.splat(0);
  let s3 = f32x4.splat(0);
  let s4 = f32x4.splat(0);
  let s5 = f32x4.splat(0);
  let s6 = f32x4.splat(0);
  let s7 = f32x4.splat(0);
  do {
    // A column's two bits times 128, the bytes of a column.
    const code = <u32>load<u8>(codes);
    let w = half ? v128.load32_splat(pair, 8) : v128.load32_splat(pair);
    let from = x + <usize>((half ? code << 3 : code << 7) & 0x180);
    s0 = madd(w, v128.load(from), s0);
    s1 = madd(w, v128.load(from, 16), s1);
    s2 = madd(w, v128.load(from, 32), s2);
    s3 = madd(w, v128.load(from, 48), s3);
    s4 = madd(w, v128.load(from, 64), s4);
    s5 = madd(w, v128.load(from, 80), s5);
    s6 = madd(w, v128.load(from, 96), s6);
    s7 = madd(w, v128.load(from, 112), s7);
    w = half ? v128.load32_splat(pair, 12) : v128.load32_splat(pair, 4);
    from = x + <usize>((half ? code << 1 : code << 5) & 0x180);
    s0 = madd(w, v128.load(from), s0);
    s1 = madd(w, v128.load(from, 16), s1);
    s2 = madd(w, v128.load(from, 32), s2);
    s3 = madd(w, v128.load(from, 48), s3);
    s4 = madd(w, v128.load(from, 64), s4);
    s5 = madd(w, v128.load(from, 80), s5);
    s6 = madd(w, v128.load(from, 96), s6);
    s7 = madd(w, v128.load(from, 112), s7);
    x += 512;
    pair += 16;
    codes++;
    groups--;
  } while (groups);
  if (!overwrite) {
    s0 = f32x4.add(v128.load(sums), s0);
    s1 = f32x4.add(v128.load(sums, 16), s1);
    s2 = f32x4.add(v128.load(sums, 32), s2);
    s3 = f32x4.add(v128.load(sums, 48), s3);
    s4 = f32x4.add(v128.load(sums, 64), s4);
    s5 = f32x4.add(v128.load(sums, 80), s5);
    s6 = f32x4.add(v128.load(sums, 96), s6);
    s7 = f32x4.add(v128.load(sums, 112), s7);
  }
  v128.store(sums, s0);
  v128.store(sums, s1, 16);
  v128.store(sums, s2, 32);
  v128.store(sums, s3, 48);
  v128.store(sums, s4, 64);
  v128.store(sums, s5, 80);
  v128.store(sums, s6, 96);
  v128.store(sums, s7, 112);
}

/** out [tokens, rows] = sums [rows, 32] transposed, plus bias. */
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
      const r1 = v128.load(from, 128);
      const r2 = v128.load(from, 256);
      const r3 = v128.load(from, 384);
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
