// 2:4-sparse matrices: packing, unpacking, the prepared form (lib/two-four-form.ts), and products
// with it: for one token in lib/two-four-vector.ts, for a few in lib/two-four-tokens.ts, for more in
// lib/two-four-panel.ts.
//
// Stored form (src/layouts/two-four.ts): values [rows, cols/2], and 4-bit group codes
// i0 | i1 << 2, two a byte.

import { F16, halfLift, I8, scaleFloats } from "../lib/half";
import { evenGroups, PANEL_ROWS, panelStep, preparePanels } from "../lib/two-four-form";
import {
  packTokens,
  panelLinear,
  panelScratch,
  panelTokens,
  RUN_TOKENS,
  tokenBytes,
} from "../lib/two-four-panel";
import { fillColumns } from "../lib/two-four-stream";
import { fillShuffles } from "../lib/two-four-swizzle";
import { fewTokensLinear, fewTokensScratch } from "../lib/two-four-tokens";
import { WHOLE_REST } from "../lib/two-four-values";
import { vectorLinear } from "../lib/two-four-vector";

/** Up to this many tokens are multiplied by swizzling. Without relaxed SIMD it takes two instructions. */
export const TWO_FOUR_FEW_TOKENS: i32 = ASC_FEATURE_RELAXED_SIMD ? 12 : 4;
/** The most tokens that one product takes. */
export const TWO_FOUR_RUN_TOKENS: i32 = RUN_TOKENS;

/** Group code by the bit set of non-zeros; 0 where there are more than two. */
const CODES: usize = memory.data<u8>([4, 4, 4, 4, 8, 8, 9, 0, 12, 12, 13, 0, 14, 0, 0, 0]);

/** Call once, before twoFourRows. */
export function twoFourStart(): void {
  fillShuffles();
  fillColumns();
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

/**
 * Fills the prepared form of a matrix of `format`, as numbered in lib/half.ts.
 *
 * @param values [rows, 2 * groups] in that format
 * @param panels twoFourBytes(format, rows, groups) bytes
 * @param scales f32 [rows, up to a multiple of 8], filled for f16, untouched otherwise
 */
export function twoFourPrepare(
  format: i32,
  values: usize,
  indices: usize,
  rows: i32,
  groups: i32,
  panels: usize,
  scales: usize,
): void {
  preparePanels(format, values, indices, rows, groups, panels, scales);
}

/** Bytes of the prepared form without scales. */
export function twoFourBytes(format: i32, rows: i32, groups: i32): usize {
  return <usize>((rows + PANEL_ROWS - 1) / PANEL_ROWS) * panelStep(format, groups);
}

/** Tokens that are packed together where there are more than TWO_FOUR_FEW_TOKENS. */
export function twoFourGrain(): i32 {
  return panelTokens();
}

/** Bytes of `tokens` packed tokens. */
export function twoFourTokenBytes(tokens: i32, groups: i32): usize {
  return tokenBytes(tokens, groups);
}

/**
 * Packs tokens [first, last) of x [tokens, 4 * groups], `first` a multiple of twoFourGrain(). Threads may
 * share this out.
 *
 * @param panels twoFourTokenBytes(tokens, groups)
 */
export function twoFourTokens(
  tokens: i32,
  groups: i32,
  x: usize,
  panels: usize,
  first: i32,
  last: i32,
): void {
  packTokens(tokens, groups, x, panels, first, last);
}

/** Bytes of scratch for twoFourRows with up to `tokens` tokens. */
export function twoFourScratch(format: i32, tokens: i32, groups: i32): usize {
  const few = fewTokensScratch(format, min(tokens, TWO_FOUR_FEW_TOKENS), groups);
  return tokens > TWO_FOUR_FEW_TOKENS ? max(few, panelScratch(tokens)) : few;
}

/**
 * Rows [first, last) of out [tokens, rows] = x [tokens, 4 * groups] W^T + bias, W in prepared form.
 * Cutting the rows changes no result; cutting the tokens does where it changes the way to multiply.
 *
 * @param x packed by twoFourTokens where there are more than TWO_FOUR_FEW_TOKENS
 * @param tokens at most TWO_FOUR_RUN_TOKENS
 * @param scales as prepared for f16, each row's for i8, else 0
 * @param bias [rows], or 0 for none
 * @param first a multiple of 8
 * @param last a multiple of 8, or rows
 * @param scratch twoFourScratch(format, tokens, groups) bytes
 */
export function twoFourRows(
  format: i32,
  x: usize,
  panels: usize,
  scales: usize,
  out: usize,
  bias: usize,
  tokens: i32,
  rows: i32,
  groups: i32,
  first: i32,
  last: i32,
  scratch: usize,
): void {
  const at = <usize>first << 2;
  const outStep = <usize>rows << 2;
  out += at;
  if (bias) bias += at;
  if (scales) scales += at;
  panels += twoFourBytes(format, first, groups);
  rows = last - first;
  if (tokens == 1) {
    oneToken(format, x, panels, scales, out, bias, rows, groups, scratch);
  } else if (tokens > TWO_FOUR_FEW_TOKENS) {
    panelLinear(format, x, panels, out, outStep, bias, scales, tokens, rows, groups, scratch);
  } else if (tokens > 0) {
    fewTokensLinear(format, x, panels, out, outStep, bias, scales, tokens, rows, groups, scratch);
  }
}

function oneToken(
  format: i32,
  x: usize,
  panels: usize,
  scales: usize,
  out: usize,
  bias: usize,
  rows: i32,
  groups: i32,
  scratch: usize,
): void {
  const step = panelStep(format, groups);
  const even = evenGroups(groups);
  const lift: f32 = format == F16 ? halfLift() : format == I8 ? WHOLE_REST : 1;
  scaleFloats(groups << 2, lift, x, scratch);
  if (even > groups) v128.store(scratch + (<usize>groups << 4), f32x4.splat(0));
  vectorLinear(format, scratch, panels, step, out, bias, scales, rows, even);
}
