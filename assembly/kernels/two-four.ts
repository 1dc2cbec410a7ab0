// 2:4-sparse matrices: packing, unpacking, the prepared form, and products with it: for one token
// in lib/two-four-vector.ts, for a few in lib/two-four-tokens.ts, for more in
// lib/two-four-panel.ts.
//
// Stored form (src/layouts/two-four.ts): values [rows, cols/2], and 4-bit group codes
// i0 | i1 << 2, two a byte.
// Prepared form, by pairs of rows (r, r + 1), a missing last row being zeros:
//   values  [pairs, groups] of 16 bytes: the two slots of row r, then those of row r + 1
//   codes   [pairs, groups] of 1 byte: code of r | code of r + 1 << 4
// A byte so holds the column of each of the four values, two bits each, lowest first.

import {
  PANEL_TOKENS,
  PANEL_TOKENS_MIN,
  panelLinear,
  panelScratch,
} from "../lib/two-four-panel";
import { fillShuffles } from "../lib/two-four-swizzle";
import { tokensLinear } from "../lib/two-four-tokens";
import { vectorLinear } from "../lib/two-four-vector";

/** Group code by the bit set of non-zeros; 0 where there are more than two. */
const CODES: usize = memory.data<u8>([4, 4, 4, 4, 8, 8, 9, 0, 12, 12, 13, 0, 14, 0, 0, 0]);

/** Call once, before twoFourLinear. */
export function twoFourStart(): void {
  fillShuffles();
}

/** The stored form of w [rows, 4 * groups]; returns the first flat group that does not fit, or -1. */
export function twoFourPack(w: usize, values: usize, indices: usize, rows: i32, groups: i32): i32 {
  const zero = f32x4.splat(0);
  for (let row = 0; row < rows; row++) {
    for (let group = 0; group < groups; group++) {
      const nonZeros = i32x4.bitmask(f32x4.ne(v128.load(w), zero));
      const code = <u32>load<u8>(CODES + <usize>nonZeros);
      if (code == 0) return row * groups + group;
      store<f32>(values, load<f32>(w + ((code & 3) << 2)));
      store<f32>(values, load<f32>(w + (code & 12)), 4);
      if (group & 1) {
        store<u8>(indices, load<u8>(indices) | (code << 4));
        indices++;
      } else store<u8>(indices, code);
      w += 16;
      values += 8;
    }
    indices += <usize>(groups & 1);
  }
  return -1;
}

/** The inverse of twoFourPack: fills w [rows, 4 * groups]. */
export function twoFourUnpack(w: usize, values: usize, indices: usize, rows: i32, groups: i32): void {
  const zero = f32x4.splat(0);
  for (let row = 0; row < rows; row++) {
    for (let group = 0; group < groups; group++) {
      const code = <u32>load<u8>(indices + <usize>(group >> 1)) >> ((group & 1) << 2);
      v128.store(w, zero);
      store<f32>(w + ((code & 3) << 2), load<f32>(values));
      store<f32>(w + (code & 12), load<f32>(values, 4));
      w += 16;
      values += 8;
    }
    indices += <usize>((groups + 1) >> 1);
  }
}

/** The prepared form, `pairs` and `codes`, from the stored one. */
export function twoFourPrepare(
  values: usize,
  indices: usize,
  rows: i32,
  groups: i32,
  pairs: usize,
  codes: usize,
): void {
  const width = <usize>((groups + 1) >> 1);
  for (let row = 0; row < rows; row += 2) {
    const isPair = row + 1 < rows;
    let second = values + (<usize>groups << 3);
    for (let group = 0; group < groups; group++) {
      const shift = (group & 1) << 2;
      const at = indices + <usize>(group >> 1);
      let code = (<u32>load<u8>(at) >> shift) & 15;
      store<u64>(pairs, load<u64>(values));
      if (isPair) {
        code |= ((<u32>load<u8>(at + width) >> shift) & 15) << 4;
        store<u64>(pairs, load<u64>(second), 8);
      } else store<u64>(pairs, 0, 8);
      store<u8>(codes, code);
      codes++;
      pairs += 16;
      values += 8;
      second += 8;
    }
    values = second;
    indices += 2 * width;
  }
}

/** Bytes of scratch for twoFourLinear. */
export function twoFourScratch(tokens: i32, groups: i32): usize {
  return tokens < PANEL_TOKENS_MIN ? 0 : panelScratch(groups);
}

/**
 * out [tokens, rows] = x [tokens, 4 * groups] W^T + bias, W in prepared form.
 *
 * @param bias [rows], or 0 for none
 * @param scratch twoFourScratch(tokens, groups) bytes
 */
export function twoFourLinear(
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
  const xStep = <usize>groups << 4;
  const outStep = <usize>rows << 2;
  while (tokens >= PANEL_TOKENS_MIN) {
    const count = min(PANEL_TOKENS, tokens);
    panelLinear(x, pairs, codes, out, bias, count, rows, groups, scratch);
    x += <usize>count * xStep;
    out += <usize>count * outStep;
    tokens -= count;
  }
  // Two tokens or three are worth a block of their own; one alone is not.
  const blocks = tokens - ((tokens & 3) == 1 ? 1 : 0);
  if (blocks > 0) tokensLinear(x, pairs, codes, out, bias, blocks, rows, groups);
  if (blocks == tokens) return;
  x += <usize>blocks * xStep;
  out += <usize>blocks * outStep;
  vectorLinear(x, pairs, codes, out, bias, rows, groups);
}
