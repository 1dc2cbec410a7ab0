// 2:4 products for many tokens. `packTokens` copies the tokens to panels of 32 or 48. The inner loops that
// read them are generated (two-four-columns.mjs). Rows and groups of weights are taken a block at a time: a
// block is made ready once for all tokens (lib/two-four-stream.ts), and its part of a panel of tokens stays in
// the first-level cache. Sums wait in scratch, [tokens of a panel] for each row, and are transposed on their
// way out. They are added up in the order of dense products (lib/multiply.ts), block of k by block of k, so
// that both give the same bits.

import {
  firstByFortyEight,
  firstByThirtyTwo,
  pairBySixteen,
  pairsByEight,
  secondByFortyEight,
  secondByThirtyTwo,
} from "../../build/generated/two-four-columns";
import { storeColumns } from "./four-rows";
import { F32 } from "./half";
import { movesLoads } from "./micro-kernel";
import { blockDepth } from "./multiply";
import { packRows } from "./pack";
import {
  evenGroups,
  groupBytes,
  groupStep,
  PANEL_ROWS,
  panelStep,
  widenPanel,
} from "./two-four-form";
import { streamBytes, streamedBytes, streamPanel } from "./two-four-stream";

/** The most tokens that go through together. */
export const RUN_TOKENS: i32 = 288;

/** Whether the engine leaves loads where they stand: then panels are of 48 tokens (lib/two-four-stream.ts). */
// @ts-ignore: decorator
@inline
function isStraight(): bool {
  return ASC_FEATURE_RELAXED_SIMD && !movesLoads();
}

/** Tokens that a panel has room for. */
// @ts-ignore: decorator
@inline
export function panelTokens(): i32 {
  return isStraight() ? 48 : 32;
}

/** Groups of a block times tokens of a panel: their activations stay in a first-level cache of 32 KiB. */
const BLOCK_GROUPS_TOKENS: i32 = 24 * 48;
const BLOCK_ROWS: i32 = 128;
/** Columns of a panel that are packed together, four tokens after the other: they stay in that cache too. */
const PACKED_COLUMNS: i32 = 64;

/** The number of tokens, with those added that the inner loops compute too. */
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
function blockGroups(): i32 {
  return (BLOCK_GROUPS_TOKENS / panelTokens()) & ~1;
}

/** Bytes of a column of a panel of tokens. */
// @ts-ignore: decorator
@inline
function columnBytes(): usize {
  return <usize>panelTokens() << 2;
}

/** Bytes of a number of rows, a multiple of PANEL_ROWS, as the inner loops read them. */
// @ts-ignore: decorator
@inline
function streamedRows(rows: i32, groups: i32): usize {
  return <usize>(rows / PANEL_ROWS) * streamedBytes(groups);
}

/** Bytes of the panels of up to `tokens` tokens, at most RUN_TOKENS. */
export function tokenBytes(tokens: i32, groups: i32): usize {
  const panels = (tokens + panelTokens() - 1) / panelTokens();
  return <usize>panels * (<usize>evenGroups(groups) << 2) * columnBytes();
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
  const cols = groups << 2;
  const step = <usize>cols << 2;
  const column = columnBytes();
  for (let t = first; t < last; t += wide) {
    const width = min(wide, filled - t);
    const from = x + <usize>t * step;
    const to = panels + (<usize>t << 2) * <usize>(even << 2);
    for (let k = 0; k < cols; k += PACKED_COLUMNS) {
      const depth = min(PACKED_COLUMNS, cols - k);
      const at = from + (<usize>k << 2);
      packRows(at, step, min(width, tokens - t), depth, width, 1, to + <usize>k * column, column);
    }
    memory.fill(to + <usize>cols * column, 0, <usize>((even - groups) << 2) * column);
  }
}

/** Bytes of scratch for panelLinear with up to `tokens` tokens, at most RUN_TOKENS. */
export function panelScratch(tokens: i32): usize {
  const sums = <usize>filledTokens(tokens) * (<usize>BLOCK_ROWS << 2);
  const block = blockGroups();
  return 2 * sums + streamedRows(BLOCK_ROWS, block) + <usize>block * groupBytes<f32>();
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
  const column = columnBytes();
  const sumBytes = <usize>(filled * BLOCK_ROWS) << 2;
  const partial = scratch + sumBytes;
  const stream = partial + sumBytes;
  const widened = stream + streamedRows(BLOCK_ROWS, blockGroups());
  const step = panelStep(format, groups);
  const block = blockGroups();
  const ofProduct = blockDepth(groups << 2) >> 2;
  for (let row = 0; row < rows; row += BLOCK_ROWS) {
    const count = min(BLOCK_ROWS, rows - row);
    let depth = 0;
    for (let group = 0; group < even; group += depth) {
      const start = group / ofProduct * ofProduct;
      const end = start + ofProduct < groups ? start + ofProduct : even;
      depth = min(block, end - group);
      let from = panels + <usize>group * groupStep(format);
      for (let r = 0; r < count; r += PANEL_ROWS) {
        let panel = from;
        if (format != F32) {
          widenPanel(format, from, depth, scales ? scales + (<usize>r << 2) : 0, widened);
          panel = widened;
        }
        streamPanel(panel, depth, column, stream + streamedRows(r, depth));
        from += step;
      }
      const isLast = group + depth == end;
      const goesOn = group > start;
      for (let t = 0; t < filled; t += wide) {
        const width = min(wide, filled - t);
        const at = x + ((<usize>t << 2) * <usize>even + <usize>group * column) * 4;
        const place = <usize>(t * BLOCK_ROWS) << 2;
        const whole = scratch + place;
        // The first block of k needs no other place.
        const part = start ? partial + place : whole;
        const add: usize = isLast && start ? whole : 0;
        const to = isLast ? whole : part;
        multiplyRows(width, at, stream, count, depth, goesOn ? part : 0, add, to);
        if (bias && isLast && start == 0) addBias(whole, width, count, bias);
      }
    }
    for (let t = 0; t < tokens; t += wide) {
      const from = scratch + (<usize>(t * BLOCK_ROWS) << 2);
      const to = out + <usize>t * outStep;
      storeTransposed(from, min(wide, filled - t), count, min(wide, tokens - t), to, outStep);
    }
    panels += <usize>(BLOCK_ROWS / PANEL_ROWS) * step;
    out += <usize>BLOCK_ROWS << 2;
    if (bias) bias += <usize>BLOCK_ROWS << 2;
    if (scales) scales += <usize>BLOCK_ROWS << 2;
  }
}

/**
 * Sums [rows up to a multiple of 8, width] of `groups` groups, with `width` tokens.
 *
 * @param stream of the first pair
 * @param from sums to go on with, or 0 to start with none
 * @param add what is added to them at the end, or 0
 */
function multiplyRows(
  width: i32,
  x: usize,
  stream: usize,
  rows: i32,
  groups: i32,
  from: usize,
  add: usize,
  to: usize,
): void {
  const together = width == 8 ? 4 : 2;
  const next = <usize>(together * width) << 2;
  for (; rows > 0; rows -= together) {
    if (isStraight()) multiplyFew<f32>(width, x, stream, groups, from, add, to);
    else multiplyFew<i32>(width, x, stream, groups, from, add, to);
    if (from) from += next;
    if (add) add += next;
    to += next;
    stream += <usize>(together >> 1) * streamBytes(groups);
  }
}

function multiplyFew<A>(
  width: i32,
  x: usize,
  stream: usize,
  groups: i32,
  from: usize,
  add: usize,
  to: usize,
): void {
  const row = <usize>width << 2;
  const second = from ? from + row : 0;
  const addSecond = add ? add + row : 0;
  if (isFloat<A>() && width == 48) {
    firstByFortyEight(x, stream, groups, from, add, to);
    secondByFortyEight(x, stream, groups, second, addSecond, to + row);
  } else if (width == 32) {
    firstByThirtyTwo<A>(x, stream, groups, from, add, to);
    secondByThirtyTwo<A>(x, stream, groups, second, addSecond, to + row);
  } else if (width == 16) pairBySixteen<A>(x, stream, groups, from, add, to);
  else pairsByEight<A>(x, stream, groups, from, add, to);
}

/** Adds to each row of sums [rows, width] its own bias. */
function addBias(sums: usize, width: i32, rows: i32, bias: usize): void {
  for (; rows > 0; rows--) {
    const shift = v128.load32_splat(bias);
    for (const end = sums + (<usize>width << 2); sums < end; sums += 16) {
      v128.store(sums, f32x4.add(shift, v128.load(sums)));
    }
    bias += 4;
  }
}

/** out [tokens, rows] = sums [rows, width] transposed. */
function storeTransposed(
  sums: usize,
  width: i32,
  rows: i32,
  tokens: i32,
  out: usize,
  outStep: usize,
): void {
  const w1 = <usize>width << 2;
  for (; rows >= 4; rows -= 4) {
    let to = out;
    let from = sums;
    let t = tokens;
    for (; t >= 4; t -= 4) {
      const r0 = v128.load(from);
      const r1 = v128.load(from + w1);
      const r2 = v128.load(from + 2 * w1);
      const r3 = v128.load(from + 3 * w1);
      storeColumns(r0, r1, r2, r3, to, outStep);
      from += 16;
      to += 4 * outStep;
    }
    storeRows(from, w1, 4, t, to, outStep);
    sums += 4 * w1;
    out += 16;
  }
  storeRows(sums, w1, rows, tokens, out, outStep);
}

function storeRows(
  sums: usize,
  width: usize,
  rows: i32,
  tokens: i32,
  out: usize,
  outStep: usize,
): void {
  for (let r = 0; r < rows; r++) {
    for (let t = 0; t < tokens; t++) {
      const sum = load<f32>(sums + <usize>r * width + (<usize>t << 2));
      store<f32>(out + <usize>t * outStep + (<usize>r << 2), sum);
    }
  }
}
