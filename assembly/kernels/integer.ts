// Products y = x Wᵀ + bias of codes on a grid with int8 activations, whose exact arithmetic is that of
// src/forms/integer.ts. W is in panels (lib/integer-panel.ts) of 8 or 4 bits.

import {
  integerPanels,
  relaxed4x1,
  relaxed4x4,
  relaxed8x1,
  whole4x1,
  whole4x4,
  whole8x1,
  whole8x4,
} from "../../build/generated/integer-products";
import { panelBytes } from "../lib/integer-panel";
import { runsOf } from "../lib/integer-run";
import { roundToken, tokenOrder, tokenRunBytes } from "../lib/integer-tokens";

export { integerBytes, integerPrepare, integerRow } from "../lib/integer-codes";

/** Tokens that a kernel takes at a time, where there is more than one. */
export const INTEGER_TOKENS: i32 = 4;

/** Bytes of tokens that stay in a cache while panels go by. */
const CACHED_BYTES: i32 = 1 << 18;

/** Bytes of a token that was rounded, one of so many. */
export function integerTokenBytes(bits: i32, tokens: i32, cols: i32): usize {
  return <usize>runsOf(cols) * tokenRunBytes(tokenOrder(bits, tokens == 1));
}

/**
 * Rounds the tokens [first, last) of x [tokens, cols], for products with codes of `bits`.
 *
 * @param to [tokens, integerTokenBytes]
 * @param scratch 128 bytes
 */
export function integerTokens(
  bits: i32,
  x: usize,
  tokens: i32,
  cols: i32,
  first: i32,
  last: i32,
  to: usize,
  scratch: usize,
): void {
  const order = tokenOrder(bits, tokens == 1);
  const bytes = integerTokenBytes(bits, tokens, cols);
  for (let t = first; t < last; t++) {
    roundToken(order, x + <usize>t * (<usize>cols << 2), cols, to + <usize>t * bytes, scratch);
  }
}

/** Bytes of scratch for integerRows. */
export function integerScratch(): usize {
  return INTEGER_TOKENS * 4 * 16;
}

/** Four rows of a token's results, as many of them as there are. */
function storeRows(from: usize, out: usize, bias: usize, rows: i32): void {
  if (rows >= 4) {
    const sums = v128.load(from);
    v128.store(out, bias ? f32x4.add(sums, v128.load(bias)) : sums);
    return;
  }
  for (; rows > 0; rows--) {
    const sum = load<f32>(from);
    store<f32>(out, bias ? sum + load<f32>(bias) : sum);
    from += 4;
    out += 4;
    if (bias) bias += 4;
  }
}

/**
 * Fills tile [tokens, panels, 4] with the sums of 1 or 4 tokens.
 *
 * @param x rounded tokens, `xStep` bytes apart
 * @param w the first panel; the next is `distance` bytes further
 */
// @ts-ignore: decorator
@inline
function integerTile(
  bits: i32,
  isOne: bool,
  x: usize,
  xStep: usize,
  w: usize,
  distance: usize,
  runs: i32,
  runsAGroup: i32,
  even: bool,
  tile: usize,
): void {
  if (bits == 8) {
    if (!isOne) whole8x4(x, xStep, w, distance, runs, runsAGroup, even, tile);
    else if (ASC_FEATURE_RELAXED_SIMD) {
      relaxed8x1(x, xStep, w, distance, runs, runsAGroup, even, tile);
    } else whole8x1(x, xStep, w, distance, runs, runsAGroup, even, tile);
  } else if (ASC_FEATURE_RELAXED_SIMD) {
    if (isOne) relaxed4x1(x, xStep, w, distance, runs, runsAGroup, even, tile);
    else relaxed4x4(x, xStep, w, distance, runs, runsAGroup, even, tile);
  } else if (isOne) whole4x1(x, xStep, w, distance, runs, runsAGroup, even, tile);
  else whole4x4(x, xStep, w, distance, runs, runsAGroup, even, tile);
}

/**
 * Rows [first, last) of out [tokens, rows] = x Wᵀ + bias; first is a multiple of 4. Cutting the rows changes
 * no result.
 *
 * @param x rounded tokens; where there are several, up to a multiple of INTEGER_TOKENS, of any content
 * @param bias [rows], or 0 for none
 * @param scratch integerScratch() bytes
 */
export function integerRows(
  bits: i32,
  x: usize,
  w: usize,
  out: usize,
  bias: usize,
  tokens: i32,
  rows: i32,
  cols: i32,
  runsAGroup: i32,
  isSymmetric: bool,
  first: i32,
  last: i32,
  scratch: usize,
): void {
  const runs = runsOf(cols);
  const step = panelBytes(bits, runs, runsAGroup, isSymmetric);
  const xStep = integerTokenBytes(bits, tokens, cols);
  const isOne = tokens == 1;
  const together = integerPanels(bits, isOne ? 1 : INTEGER_TOKENS);
  const panels = (last - first + 3) >> 2;
  // A single stream from memory waits at every page: one token reads panels that lie far apart.
  const apart = isOne ? (panels + together - 1) / together : 1;
  const until = isOne ? apart : panels;
  const stride = isOne ? 1 : together;
  const distance = <usize>apart * step;
  const atOnce = max(INTEGER_TOKENS, (CACHED_BYTES / <i32>xStep) & ~(INTEGER_TOKENS - 1));
  for (let token = 0; token < tokens; token += atOnce) {
    const end = min(tokens, token + atOnce);
    for (let panel = 0; panel < until; panel += stride) {
      // Panels beyond the last are computed as the first again, for nothing.
      const isWhole = panel + (together - 1) * apart < panels;
      const at = w + (<usize>(first >> 2) + <usize>panel) * step;
      for (let t = token; t < end; t += INTEGER_TOKENS) {
        const from = x + <usize>t * xStep;
        const next = isWhole ? distance : 0;
        if (isWhole || !isOne) {
          integerTile(bits, isOne, from, xStep, at, next, runs, runsAGroup, isSymmetric, scratch);
        }
        const count = min(isOne ? 1 : INTEGER_TOKENS, end - t);
        for (let p = 0; p < together; p++) {
          const row = first + ((panel + p * apart) << 2);
          if (row >= last) break;
          if (isOne && !isWhole) {
            const own = at + <usize>p * distance;
            integerTile(bits, true, from, xStep, own, 0, runs, runsAGroup, isSymmetric, scratch);
          }
          for (let i = 0; i < count; i++) {
            const tile = scratch + (<usize>(isOne && !isWhole ? 0 : i * together + p) << 4);
            const to = out + ((<usize>(t + i) * <usize>rows + <usize>row) << 2);
            storeRows(tile, to, bias ? bias + (<usize>row << 2) : 0, last - row);
          }
        }
      }
    }
  }
}
