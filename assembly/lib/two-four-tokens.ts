// The 2:4 product with a few tokens, two or four at a time. Their activations are interleaved, so that one
// group of columns lies together. Weights of fewer bits are widened a panel at a time, for all tokens. The
// inner loops are generated (two-four-tokens.mjs).

import { fourTokensFirst, fourTokensLast, twoTokens } from "../../build/generated/two-four-tokens";
import { F32 } from "./half";
import { evenGroups, PANEL_ROWS, panelStep, widenPanel } from "./two-four-form";

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
      fourTokensFirst(from, panel, half, to, outStep, bias, rows, count);
      fourTokensLast(from, panel, half, to, outStep, bias, rows, count);
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

/**
 * Copies tokens in runs of four, or of two at the end, as [groups][tokens of the run][4]. Where tokens are
 * missing, the last one is repeated.
 */
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
