import { rowsOf } from "../../tensor.js";
import type { Claim } from "../forms.js";
import { multiplyBlocks, prepareBlocks, wholeBlocks } from "./block-diagonal.js";
import {
  address,
  cut,
  equalRanges,
  isSpread,
  type Kernels,
  runRanges,
  withScratch,
} from "./kernels.js";
import { PANEL_ROWS, prepareTwoFour, withTokens } from "./two-four.js";

/** Tokens that go through the three products together: this many stay in the cache. */
const TOKENS_A_RUN = 64;

/** The product of blocks, a 2:4 leaf and blocks, W = A S B, as one call where it runs on one thread. */
export function sandwichClaim(kernels: Kernels): Claim {
  const { exports } = kernels;
  const most = Math.min(TOKENS_A_RUN, Number(exports.TWO_FOUR_RUN_TOKENS));
  return (form) => {
    if (form.kind !== "product" || form.factors.length !== 3) return undefined;
    const [left, right] = [0, 2].map((i) => prepareBlocks(kernels, form.factors[i]));
    const core = left && right && prepareTwoFour(kernels, form.factors[1]);
    const dispose = () => {
      for (const made of [left, core, right]) made?.dispose();
    };
    if (!left || !core || !right) {
      dispose();
      return undefined;
    }
    const { rows, cols, format, panels, scales } = core;
    const [groups, a, b] = [cols / 4, left.size, right.size];
    const multiplyNow = (
      from: number,
      to: number,
      biasAt: number,
      tokens: number,
      work: number,
    ) => {
      const run = Math.min(tokens, most);
      const size = run * rows * (a + groups * 2);
      const ranges = cut(kernels, rows, wholeBlocks(a, PANEL_ROWS), size);
      if (!isSpread(kernels, ranges.length, size)) {
        withScratch(kernels, exports.sandwichScratch(format, run, groups, a, b), (scratch) =>
          exports.sandwichLinear(
            ...[format, from, right.blocks, b, panels, scales, left.blocks, a],
            ...[to, biasAt, tokens, rows, groups, run, work, scratch],
          ),
        );
        return;
      }
      const inner = work + 4 * run * cols;
      for (const { start, count } of equalRanges(tokens, run)) {
        const operands = { x: from + 4 * start * cols, blocks: right.blocks, out: work };
        multiplyBlocks(kernels, { tokens: count, cols, size: b }, operands);
        withTokens(kernels, work, count, groups, (ready) =>
          runRanges(
            kernels,
            "sandwichRows",
            ranges,
            size,
            () => exports.sandwichRowsScratch(format, count, groups, a),
            ({ start: row, count: own }) => [
              ...[format, ready, panels, scales, left.blocks, a, to + 4 * start * rows, biasAt],
              ...[count, rows, groups, inner, row, row + own],
            ],
          ),
        );
      }
    };
    return {
      ...{ rows, cols, bytes: left.bytes + core.bytes + right.bytes, dispose },
      multiply(x, out, bias) {
        const tokens = rowsOf(x);
        const work = 4 * Math.min(tokens, most) * (rows + cols);
        withScratch(kernels, work, (at) =>
          multiplyNow(address(x), address(out), bias ? address(bias) : 0, tokens, at),
        );
      },
    };
  };
}
