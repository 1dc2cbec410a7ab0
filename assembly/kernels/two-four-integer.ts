// Products y = x Wᵀ + bias of 2:4 codes on a symmetric grid with int8 activations, whose exact arithmetic is
// that of src/forms/integer.ts. W is in panels (lib/integer-two-four.ts) of 8 or 4 bits.

import { kept4x1, kept4x4, kept8x1, kept8x4, keptPanels } from "../../build/generated/two-four-integers";
import { runsOf } from "../lib/integer-run";
import { BYTES, roundToken, tokenRunBytes } from "../lib/integer-tokens";
import { keptPanelBytes } from "../lib/integer-two-four";
import { storeFourRows } from "../lib/two-four-swizzle";

export { twoFourIntegerBytes, twoFourIntegerPrepare } from "../lib/integer-two-four";

/** Tokens that a kernel takes at a time, where there is more than one. */
const TOGETHER: i32 = 4;

/** Bytes of tokens that stay in a cache while panels go by. */
const CACHED_BYTES: i32 = 1 << 18;

/** Bytes of a token that was rounded. */
export function twoFourIntegerTokenBytes(cols: i32): usize {
  return <usize>runsOf(cols) * tokenRunBytes(BYTES);
}

/**
 * Rounds the tokens [first, last) of x [tokens, cols].
 *
 * @param to [tokens, twoFourIntegerTokenBytes]
 * @param scratch 128 bytes
 */
export function twoFourIntegerTokens(
  x: usize,
  cols: i32,
  first: i32,
  last: i32,
  to: usize,
  scratch: usize,
): void {
  const bytes = twoFourIntegerTokenBytes(cols);
  for (let t = first; t < last; t++) {
    roundToken(BYTES, x + <usize>t * (<usize>cols << 2), cols, to + <usize>t * bytes, scratch);
  }
}

/** Bytes of scratch for twoFourIntegerRows. */
export function twoFourIntegerScratch(): usize {
  return TOGETHER * 4 * 16;
}

/**
 * Fills tile [tokens, panels, 4] with the sums of 1 or 4 tokens.
 *
 * @param x rounded tokens, `xStep` bytes apart
 * @param w the first panel; the next is `distance` bytes further
 */
// @ts-ignore: decorator
@inline
function keptTile(
  bits: i32,
  isOne: bool,
  x: usize,
  xStep: usize,
  w: usize,
  distance: usize,
  runs: i32,
  runsAGroup: i32,
  tile: usize,
): void {
  if (bits == 8) {
    if (isOne) kept8x1(x, xStep, w, distance, runs, runsAGroup, tile);
    else kept8x4(x, xStep, w, distance, runs, runsAGroup, tile);
  } else if (isOne) kept4x1(x, xStep, w, distance, runs, runsAGroup, tile);
  else kept4x4(x, xStep, w, distance, runs, runsAGroup, tile);
}

/**
 * Rows [first, last) of out [tokens, rows] = x Wᵀ + bias; first is a multiple of 4. Cutting the rows changes
 * no result.
 *
 * @param x rounded tokens; where there are several, up to a multiple of 4, of any content
 * @param bias [rows], or 0 for none
 * @param scratch twoFourIntegerScratch() bytes
 */
export function twoFourIntegerRows(
  bits: i32,
  x: usize,
  w: usize,
  out: usize,
  bias: usize,
  tokens: i32,
  rows: i32,
  cols: i32,
  runsAGroup: i32,
  first: i32,
  last: i32,
  scratch: usize,
): void {
  const runs = runsOf(cols);
  const step = keptPanelBytes(bits, runs, runsAGroup);
  const xStep = twoFourIntegerTokenBytes(cols);
  const isOne = tokens == 1;
  const together = keptPanels(bits, isOne);
  const panels = (last - first + 3) >> 2;
  // A single stream from memory waits at every page: panels that go together lie far apart.
  const apart = (panels + together - 1) / together;
  const atOnce = max(TOGETHER, (CACHED_BYTES / <i32>xStep) & ~(TOGETHER - 1));
  for (let token = 0; token < tokens; token += atOnce) {
    const end = min(tokens, token + atOnce);
    for (let panel = 0; panel < apart; panel++) {
      // Where some of them are beyond the last, one after another.
      const isWhole = panel + (together - 1) * apart < panels;
      const at = w + (<usize>(first >> 2) + <usize>panel) * step;
      for (let t = token; t < end; t += TOGETHER) {
        const from = x + <usize>t * xStep;
        const count = min(isOne ? 1 : TOGETHER, end - t);
        if (isWhole) {
          const distance = <usize>apart * step;
          keptTile(bits, isOne, from, xStep, at, distance, runs, runsAGroup, scratch);
        }
        for (let p = 0; p < together; p++) {
          const row = first + ((panel + p * apart) << 2);
          if (row >= last) break;
          const own = at + <usize>(p * apart) * step;
          if (!isWhole) keptTile(bits, isOne, from, xStep, own, 0, runs, runsAGroup, scratch);
          for (let i = 0; i < count; i++) {
            const sums = v128.load(scratch + (<usize>(i * together + (isWhole ? p : 0)) << 4));
            const to = out + ((<usize>(t + i) * <usize>rows) << 2);
            storeFourRows(sums, row, last, to, bias, 0);
          }
        }
      }
    }
  }
}
