// 2:4 products for many tokens. `packTokens` copies the tokens to panels of 32 or 48; the last may be of 8,
// 16 or 32. The inner loops that read them are generated (two-four-columns.mjs). Rows and groups of weights
// are taken a block at a time: a block is widened once for all tokens, and its part of a panel of tokens
// stays in the first-level cache. Sums wait in scratch, [tokens of a panel] for each row, and are
// transposed on their way out.

import {
  firstByThirtyTwo,
  pairBySixteen,
  pairsByEight,
  rowByFortyEight,
  secondByThirtyTwo,
} from "../../build/generated/two-four-columns";
import { storeColumns } from "./four-rows";
import { F32 } from "./half";
import { movesLoads } from "./micro-kernel";
import { packRows } from "./pack";
import {
  evenGroups,
  groupBytes,
  groupStep,
  PANEL_ROWS,
  panelStep,
  widenPanel,
} from "./two-four-form";

/** The most tokens that go through together. */
export const RUN_TOKENS: i32 = 288;

/** Whether the inner loops have no branches (lib/two-four-columns.ts). */
// @ts-ignore: decorator
@inline
function isStraight(): bool {
  return ASC_FEATURE_RELAXED_SIMD && !movesLoads();
}

/** Tokens of each panel but the last. */
// @ts-ignore: decorator
@inline
export function panelTokens(): i32 {
  return isStraight() ? 48 : 32;
}

/** Groups of a block times tokens of a panel: their activations stay in the first-level cache. */
const BLOCK_GROUPS_TOKENS: i32 = 64 * 32;
const BLOCK_ROWS: i32 = 128;

/** The number of tokens, with those added that fill the last panel. */
// @ts-ignore: decorator
@inline
function filledTokens(tokens: i32): i32 {
  const wide = panelTokens();
  const rest = tokens % wide;
  const last = rest > 32 ? wide : rest > 16 ? 32 : rest > 8 ? 16 : rest > 0 ? 8 : 0;
  return tokens - rest + last;
}

// @ts-ignore: decorator
@inline
function blockGroups(filled: i32): i32 {
  return (BLOCK_GROUPS_TOKENS / min(panelTokens(), filled)) & ~1;
}

/** Bytes of the panels of up to `tokens` tokens, at most RUN_TOKENS. */
export function tokenBytes(tokens: i32, groups: i32): usize {
  return <usize>filledTokens(tokens) * (<usize>evenGroups(groups) << 4);
}

/**
 * Copies tokens [first, last) of x [tokens, 4 * groups] to their panels.
 *
 * @param first a multiple of panelTokens()
 * @param last likewise, or tokens
 * @param panels tokenBytes(tokens, groups)
 */
export function packTokens(
  tokens: i32,
  groups: i32,
  x: usize,
  panels: usize,
  first: i32,
  last: i32,
): void {
  const wide = panelTokens();
  const filled = filledTokens(tokens);
  const even = evenGroups(groups);
  const step = <usize>groups << 4;
  for (let t = first; t < last; t += wide) {
    const width = min(wide, filled - t);
    const to = panels + <usize>t * (<usize>even << 4);
    const column = <usize>width << 2;
    packRows(x + <usize>t * step, step, min(width, tokens - t), groups << 2, width, 1, to);
    memory.fill(to + <usize>(groups << 2) * column, 0, <usize>((even - groups) << 2) * column);
  }
}

/** Bytes of scratch for panelLinear with up to `tokens` tokens, at most RUN_TOKENS. */
export function panelScratch(tokens: i32): usize {
  const filled = filledTokens(tokens);
  const widened = <usize>(blockGroups(filled) * BLOCK_ROWS / PANEL_ROWS) * groupBytes<f32>();
  return <usize>filled * (<usize>BLOCK_ROWS << 2) + widened;
}

/**
 * out [tokens, rows] = x [tokens, 4 * groups] W^T + bias for at most RUN_TOKENS tokens.
 *
 * @param x the panels that packTokens made of it
 * @param outStep bytes between the rows of out
 * @param bias [rows], or 0 for none
 * @param scales [rows, up to a multiple of 8], or 0 for none
 * @param scratch panelScratch(tokens) bytes
 */
export function panelLinear(
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
  const wide = panelTokens();
  const filled = filledTokens(tokens);
  const even = evenGroups(groups);
  const xStep = <usize>even << 4;
  const widened = scratch + (<usize>(filled * BLOCK_ROWS) << 2);
  const step = panelStep(format, groups);
  const block = blockGroups(filled);
  for (let row = 0; row < rows; row += BLOCK_ROWS) {
    const count = min(BLOCK_ROWS, rows - row);
    for (let group = 0; group < even; group += block) {
      const depth = min(block, even - group);
      let from = panels + <usize>group * groupStep(format);
      let fromStep = step;
      if (format != F32) {
        fromStep = <usize>depth * groupBytes<f32>();
        for (let r = 0; r < count; r += PANEL_ROWS) {
          const to = widened + <usize>(r >> 3) * fromStep;
          widenPanel(format, from, depth, scales ? scales + (<usize>r << 2) : 0, to);
          from += step;
        }
        from = widened;
      }
      for (let t = 0; t < filled; t += wide) {
        const width = min(wide, filled - t);
        const at = x + <usize>t * xStep + <usize>(group << 4) * <usize>width;
        const to = scratch + (<usize>(t * BLOCK_ROWS) << 2);
        multiplyPanels(width, at, from, fromStep, count, depth, to, group == 0);
      }
    }
    for (let t = 0; t < tokens; t += wide) {
      const from = scratch + (<usize>(t * BLOCK_ROWS) << 2);
      const to = out + <usize>t * outStep;
      storeTransposed(from, min(wide, filled - t), count, min(wide, tokens - t), to, outStep, bias);
    }
    panels += <usize>(BLOCK_ROWS / PANEL_ROWS) * step;
    out += <usize>BLOCK_ROWS << 2;
    if (bias) bias += <usize>BLOCK_ROWS << 2;
    if (scales) scales += <usize>BLOCK_ROWS << 2;
  }
}

/** Sums [rows up to a multiple of 8, width] of `groups` groups of panels, with `width` tokens. */
function multiplyPanels(
  width: i32,
  x: usize,
  panel: usize,
  step: usize,
  rows: i32,
  groups: i32,
  sums: usize,
  overwrite: bool,
): void {
  for (; rows > 0; rows -= PANEL_ROWS) {
    if (isStraight()) multiplyPanel<f32>(width, x, panel, groups, sums, overwrite);
    else multiplyPanel<i32>(width, x, panel, groups, sums, overwrite);
    sums += <usize>(PANEL_ROWS * width) << 2;
    panel += step;
  }
}

function multiplyPanel<A>(
  width: i32,
  x: usize,
  panel: usize,
  groups: i32,
  sums: usize,
  overwrite: bool,
): void {
  const rowBytes = <usize>width << 2;
  let values = panel + 4;
  for (let pair: usize = 0; pair < 4; pair++) {
    const codes = panel + pair;
    if (isFloat<A>() && width == 48) {
      rowByFortyEight(0, x, codes, values, groups, sums, overwrite);
      rowByFortyEight(1, x, codes, values + 8, groups, sums + rowBytes, overwrite);
    } else if (width == 32) {
      firstByThirtyTwo<A>(x, codes, values, groups, sums, overwrite);
      secondByThirtyTwo<A>(x, codes, values + 8, groups, sums + rowBytes, overwrite);
    } else if (width == 16) {
      pairBySixteen<A>(x, codes, values, groups, sums, overwrite);
    } else if (pair & 1) {
      pairsByEight<A>(x, codes - 1, values - 16, groups, sums - 2 * rowBytes, overwrite);
    }
    values += 16;
    sums += 2 * rowBytes;
  }
}

/** out [tokens, rows] = sums [rows, width] transposed, plus bias. */
function storeTransposed(
  sums: usize,
  width: i32,
  rows: i32,
  tokens: i32,
  out: usize,
  outStep: usize,
  bias: usize,
): void {
  const w1 = <usize>width << 2;
  for (; rows >= 4; rows -= 4) {
    const biases = bias ? v128.load(bias) : f32x4.splat(0);
    const b0 = f32x4.splat(f32x4.extract_lane(biases, 0));
    const b1 = f32x4.splat(f32x4.extract_lane(biases, 1));
    const b2 = f32x4.splat(f32x4.extract_lane(biases, 2));
    const b3 = f32x4.splat(f32x4.extract_lane(biases, 3));
    let to = out;
    let from = sums;
    let t = tokens;
    for (; t >= 4; t -= 4) {
      const r0 = f32x4.add(b0, v128.load(from));
      const r1 = f32x4.add(b1, v128.load(from + w1));
      const r2 = f32x4.add(b2, v128.load(from + 2 * w1));
      const r3 = f32x4.add(b3, v128.load(from + 3 * w1));
      storeColumns(r0, r1, r2, r3, to, outStep);
      from += 16;
      to += 4 * outStep;
    }
    storeRows(from, w1, 4, t, to, outStep, bias);
    sums += 4 * w1;
    out += 16;
    if (bias) bias += 16;
  }
  storeRows(sums, w1, rows, tokens, out, outStep, bias);
}

function storeRows(
  sums: usize,
  width: usize,
  rows: i32,
  tokens: i32,
  out: usize,
  outStep: usize,
  bias: usize,
): void {
  for (let r = 0; r < rows; r++) {
    const shift: f32 = bias ? load<f32>(bias + (<usize>r << 2)) : 0;
    for (let t = 0; t < tokens; t++) {
      const sum = load<f32>(sums + <usize>r * width + (<usize>t << 2));
      store<f32>(out + <usize>t * outStep + (<usize>r << 2), sum + shift);
    }
  }
}
