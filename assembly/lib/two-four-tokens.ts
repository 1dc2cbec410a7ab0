// The 2:4 product with a few tokens, two or four at a time: their activations are interleaved, so that one
// group of columns lies together, and a panel is read from its start and from its middle at once. Weights of
// fewer bits are widened a panel at a time, for all tokens.
//
// The branches in the loops are always taken: V8 before 13 moves all loads of a straight stretch of code to
// its top, and so many do not fit into registers; later ones do all products of a sum one after the other.

import { F32 } from "./half";
import { madd } from "./simd";
import { evenGroups, groupBytes, PANEL_ROWS, panelStep, widenPanel } from "./two-four-form";
import { fourRows, shuffleOf, storeEightRows, storeFourRows, swizzle } from "./two-four-swizzle";

/** Bytes of scratch for fewTokensLinear with up to `tokens` tokens. */
export function fewTokensScratch(format: i32, tokens: i32, groups: i32): usize {
  const x = <usize>((tokens + 1) & ~1) * (<usize>evenGroups(groups) << 4);
  return format == F32 ? x : x + panelStep(F32, groups);
}

/**
 * out [tokens, rows] = x [tokens, 4 * groups] times the panels, plus bias.
 *
 * @param outStep bytes between the rows of out
 * @param bias [rows], or 0 for none
 * @param scales of the rows, where the format has them, or 0
 * @param scratch fewTokensScratch(format, tokens, groups) bytes
 */
export function fewTokensLinear(
  format: i32,
  x: usize,
  panels: usize,
  out: usize,
  outStep: usize,
  bias: usize,
  scales: usize,
  tokens: i32,
  rows: i32,
  groups: i32,
  scratch: usize,
): void {
  const even = evenGroups(groups);
  const half = even >> 1;
  const widened = scratch + <usize>((tokens + 1) & ~1) * (<usize>even << 4);
  interleaveTokens(x, tokens, groups, scratch);
  for (; rows > 0; rows -= PANEL_ROWS) {
    let panel = panels;
    if (format != F32) {
      widenPanel(format, panels, even, scales, widened);
      panel = widened;
    }
    let token = 0;
    let from = scratch;
    let to = out;
    for (; token + 2 < tokens; token += 4) {
      const count = min(4, tokens - token);
      fourTokens<u8>(from, panel, half, to, outStep, bias, rows, count);
      fourTokens<u16>(from, panel, half, to, outStep, bias, rows, count);
      from += <usize>even << 6;
      to += outStep << 2;
    }
    if (token < tokens) twoTokens(from, panel, half, to, outStep, bias, rows, tokens - token);
    panels += panelStep(format, groups);
    out += 32;
    if (bias) bias += 32;
    if (scales) scales += 32;
  }
}

/** Runs of four tokens, of two at the end, as [groups][tokens of the run][4]; missing ones are the last. */
function interleaveTokens(x: usize, tokens: i32, groups: i32, to: usize): void {
  const xStep = <usize>groups << 4;
  for (let token = 0; token < tokens; token += 4) {
    const width = token + 2 < tokens ? 4 : 2;
    const step = <usize>width << 4;
    for (let t = 0; t < width; t++) {
      let from = x + <usize>min(token + t, tokens - 1) * xStep;
      let at = to + (<usize>t << 4);
      for (let group = 0; group < groups; group++) {
        v128.store(at, v128.load(from));
        from += 16;
        at += step;
      }
      if (groups & 1) v128.store(at, f32x4.splat(0));
    }
    to += <usize>evenGroups(groups) * step;
  }
}

/** Eight rows with one or two tokens. */
function twoTokens(
  x: usize,
  panel: usize,
  half: i32,
  out: usize,
  outStep: usize,
  bias: usize,
  rows: i32,
  count: i32,
): void {
  const xHalf = <usize>half << 5;
  const panelHalf = <usize>half * groupBytes<f32>();
  let a0 = f32x4.splat(0);
  let a1 = f32x4.splat(0);
  let a2 = f32x4.splat(0);
  let a3 = f32x4.splat(0);
  let b0 = f32x4.splat(0);
  let b1 = f32x4.splat(0);
  let b2 = f32x4.splat(0);
  let b3 = f32x4.splat(0);
  for (; half > 0; half--) {
    let a = v128.load(x);
    let b = v128.load(x, 16);
    let w = v128.load(panel, 4);
    let shuffle = shuffleOf(load<u8>(panel));
    a0 = madd(w, swizzle(a, shuffle), a0);
    b0 = madd(w, swizzle(b, shuffle), b0);
    w = v128.load(panel, 20);
    shuffle = shuffleOf(load<u8>(panel, 1));
    a1 = madd(w, swizzle(a, shuffle), a1);
    b1 = madd(w, swizzle(b, shuffle), b1);
    if (x > 1) {
      w = v128.load(panel, 36);
      shuffle = shuffleOf(load<u8>(panel, 2));
      a2 = madd(w, swizzle(a, shuffle), a2);
      b2 = madd(w, swizzle(b, shuffle), b2);
      w = v128.load(panel, 52);
      shuffle = shuffleOf(load<u8>(panel, 3));
      a3 = madd(w, swizzle(a, shuffle), a3);
      b3 = madd(w, swizzle(b, shuffle), b3);
      if (panel > 1) {
        const later = panel + panelHalf;
        a = v128.load(x + xHalf);
        b = v128.load(x + xHalf, 16);
        w = v128.load(later, 4);
        shuffle = shuffleOf(load<u8>(later));
        a0 = madd(w, swizzle(a, shuffle), a0);
        b0 = madd(w, swizzle(b, shuffle), b0);
        w = v128.load(later, 20);
        shuffle = shuffleOf(load<u8>(later, 1));
        a1 = madd(w, swizzle(a, shuffle), a1);
        b1 = madd(w, swizzle(b, shuffle), b1);
        if (x > 2) {
          w = v128.load(later, 36);
          shuffle = shuffleOf(load<u8>(later, 2));
          a2 = madd(w, swizzle(a, shuffle), a2);
          b2 = madd(w, swizzle(b, shuffle), b2);
          w = v128.load(later, 52);
          shuffle = shuffleOf(load<u8>(later, 3));
          a3 = madd(w, swizzle(a, shuffle), a3);
          b3 = madd(w, swizzle(b, shuffle), b3);
        }
      }
    }
    x += 32;
    panel += groupBytes<f32>();
  }
  storeEightRows(a0, a1, a2, a3, 0, rows, out, bias, 0);
  if (count > 1) storeEightRows(b0, b1, b2, b3, 0, rows, out + outStep, bias, 0);
}

/** Four rows with three or four tokens: the panel's first four for P = u8, the last four for u16. */
function fourTokens<P>(
  x: usize,
  panel: usize,
  half: i32,
  out: usize,
  outStep: usize,
  bias: usize,
  rows: i32,
  count: i32,
): void {
  const pair: usize = sizeof<P>() == 1 ? 0 : 2;
  const xHalf = <usize>half << 6;
  const panelHalf = <usize>half * groupBytes<f32>();
  let a0 = f32x4.splat(0);
  let a1 = f32x4.splat(0);
  let b0 = f32x4.splat(0);
  let b1 = f32x4.splat(0);
  let c0 = f32x4.splat(0);
  let c1 = f32x4.splat(0);
  let d0 = f32x4.splat(0);
  let d1 = f32x4.splat(0);
  for (; half > 0; half--) {
    let w0 = v128.load(panel, 4 + 16 * pair);
    let w1 = v128.load(panel, 20 + 16 * pair);
    let shuffle0 = shuffleOf(load<u8>(panel, pair));
    let shuffle1 = shuffleOf(load<u8>(panel, pair + 1));
    let four = v128.load(x);
    a0 = madd(w0, swizzle(four, shuffle0), a0);
    a1 = madd(w1, swizzle(four, shuffle1), a1);
    four = v128.load(x, 16);
    b0 = madd(w0, swizzle(four, shuffle0), b0);
    b1 = madd(w1, swizzle(four, shuffle1), b1);
    if (x > 1) {
      four = v128.load(x, 32);
      c0 = madd(w0, swizzle(four, shuffle0), c0);
      c1 = madd(w1, swizzle(four, shuffle1), c1);
      four = v128.load(x, 48);
      d0 = madd(w0, swizzle(four, shuffle0), d0);
      d1 = madd(w1, swizzle(four, shuffle1), d1);
      if (panel > 1) {
        const later = panel + panelHalf;
        const xLater = x + xHalf;
        w0 = v128.load(later, 4 + 16 * pair);
        w1 = v128.load(later, 20 + 16 * pair);
        shuffle0 = shuffleOf(load<u8>(later, pair));
        shuffle1 = shuffleOf(load<u8>(later, pair + 1));
        four = v128.load(xLater);
        a0 = madd(w0, swizzle(four, shuffle0), a0);
        a1 = madd(w1, swizzle(four, shuffle1), a1);
        four = v128.load(xLater, 16);
        b0 = madd(w0, swizzle(four, shuffle0), b0);
        b1 = madd(w1, swizzle(four, shuffle1), b1);
        if (x > 2) {
          four = v128.load(xLater, 32);
          c0 = madd(w0, swizzle(four, shuffle0), c0);
          c1 = madd(w1, swizzle(four, shuffle1), c1);
          four = v128.load(xLater, 48);
          d0 = madd(w0, swizzle(four, shuffle0), d0);
          d1 = madd(w1, swizzle(four, shuffle1), d1);
        }
      }
    }
    x += 64;
    panel += groupBytes<f32>();
  }
  const first = sizeof<P>() == 1 ? 0 : 4;
  storeFourRows(fourRows(a0, a1), first, rows, out, bias, 0);
  storeFourRows(fourRows(b0, b1), first, rows, out + outStep, bias, 0);
  storeFourRows(fourRows(c0, c1), first, rows, out + 2 * outStep, bias, 0);
  if (count > 3) storeFourRows(fourRows(d0, d1), first, rows, out + 3 * outStep, bias, 0);
}
