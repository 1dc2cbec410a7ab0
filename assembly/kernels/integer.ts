// Products y = x Wᵀ + bias of codes on a grid with int8 activations, whose exact arithmetic is that of
// src/forms/integer.ts. W is in panels (lib/integer-panel.ts) of 8, 4, 3, 2 or 1 bits.

import { integerPanels, integerTile } from "../../build/generated/integer-products";
import { integerWiden } from "../lib/integer-codes";
import { panelBytes } from "../lib/integer-panel";
import { runsOf } from "../lib/integer-run";
import { roundToken, tokenOrder, tokenRunBytes } from "../lib/integer-tokens";

export { integerBytes, integerPrepare, integerRow, integerScaleType } from "../lib/integer-codes";

/** Tokens that a kernel takes at a time, where there are more than two. */
export const INTEGER_TOKENS: i32 = 4;

/** Up to this many tokens are taken one at a time: a kernel of several would compute more than there are. */
const ONE_BY_ONE: i32 = 2;

/** Bytes of tokens that stay in a cache while panels go by. */
const CACHED_BYTES: i32 = 1 << 18;

/** Bytes of the tile of a kernel. */
const TILE_BYTES: usize = INTEGER_TOKENS * 4 * 16;

/** Bytes of a token that was rounded. */
export function integerTokenBytes(bits: i32, cols: i32): usize {
  return <usize>runsOf(cols) * tokenRunBytes(tokenOrder(bits));
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
  cols: i32,
  first: i32,
  last: i32,
  to: usize,
  scratch: usize,
): void {
  const order = tokenOrder(bits);
  const bytes = integerTokenBytes(bits, cols);
  for (let t = first; t < last; t++) {
    roundToken(order, x + <usize>t * (<usize>cols << 2), cols, to + <usize>t * bytes, scratch);
  }
}

/** Bits that the kernel of so many tokens reads. */
// @ts-ignore: decorator
@inline
function readBits(bits: i32, isOne: bool): i32 {
  return isOne ? bits : max(4, bits);
}

/** Bytes of scratch for integerRows. */
export function integerScratch(
  bits: i32,
  tokens: i32,
  cols: i32,
  runsAGroup: i32,
  isSymmetric: bool,
  scaleType: i32,
): usize {
  const read = readBits(bits, tokens <= ONE_BY_ONE);
  if (read == bits) return TILE_BYTES;
  const panels = <usize>integerPanels(false);
  return TILE_BYTES + panels * panelBytes(read, runsOf(cols), runsAGroup, isSymmetric, scaleType);
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
  scaleType: i32,
  first: i32,
  last: i32,
  scratch: usize,
): void {
  const runs = runsOf(cols);
  const step = panelBytes(bits, runs, runsAGroup, isSymmetric, scaleType);
  const xStep = integerTokenBytes(bits, cols);
  const isOne = tokens <= ONE_BY_ONE;
  const each = isOne ? 1 : INTEGER_TOKENS;
  const read = readBits(bits, isOne);
  const readStep = panelBytes(read, runs, runsAGroup, isSymmetric, scaleType);
  const widened = scratch + TILE_BYTES;
  const together = integerPanels(isOne);
  const panels = (last - first + 3) >> 2;
  // A single stream from memory waits at every page: one token reads panels that lie far apart. Where their
  // number is no multiple, some are computed twice.
  const isFull = panels >= together;
  const apart = isOne ? panels / together : <i32>isFull;
  const until = isOne ? panels - (together - 1) * apart : panels;
  const stride = isFull && !isOne ? together : 1;
  const atOnce = max(INTEGER_TOKENS, (CACHED_BYTES / <i32>xStep) & ~(INTEGER_TOKENS - 1));
  for (let token = 0; token < tokens; token += atOnce) {
    const end = min(tokens, token + atOnce);
    for (let next = 0; next < until; next += stride) {
      const panel = isFull && !isOne ? min(next, panels - together) : next;
      let at = w + (<usize>(first >> 2) + <usize>panel) * step;
      if (read != bits) {
        for (let p = 0; p < together; p++) {
          const from = at + <usize>(p * apart) * step;
          const to = widened + <usize>p * readStep;
          integerWiden(bits, from, runs, runsAGroup, isSymmetric, scaleType, to);
        }
        at = widened;
      }
      const distance = read == bits ? <usize>apart * step : readStep;
      for (let t = token; t < end; t += each) {
        const from = x + <usize>t * xStep;
        const count = min(each, end - t);
        integerTile(
          read,
          isOne,
          from,
          xStep,
          at,
          distance,
          runs,
          runsAGroup,
          isSymmetric,
          bits - 1,
          scaleType,
          scratch,
        );
        for (let p = 0; p < together; p++) {
          const row = first + ((panel + p * apart) << 2);
          for (let i = 0; i < count; i++) {
            const tile = scratch + (<usize>(i * together + p) << 4);
            const to = out + ((<usize>(t + i) * <usize>rows + <usize>row) << 2);
            storeRows(tile, to, bias ? bias + (<usize>row << 2) : 0, last - row);
          }
        }
      }
    }
  }
}
