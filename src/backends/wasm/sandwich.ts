import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { multiplyBlocks, wholeBlocks } from "./block-diagonal.js";
import {
  address,
  cut,
  equalRanges,
  isSpread,
  type Kernels,
  runRanges,
  withScratch,
} from "./kernels.js";
import { PANEL_ROWS, type WasmMatrix, withTokens } from "./two-four.js";

export function bind(kernels: Kernels): Partial<Operations> {
  const { exports } = kernels;
  const most = Number(exports.TWO_FOUR_RUN_TOKENS);
  return {
    sandwichLinear(x, weight, { left, right }, work, out, { bias } = {}) {
      const { rows, cols, format, panels, scales } = weight as WasmMatrix;
      const [tokens, groups] = [rowsOf(x), cols / 4];
      const [a, b] = [colsOf(left), colsOf(right)];
      const run = Math.min(tokens, most, Math.floor(work.size / (rows + cols)));
      const [from, to, biasAt] = [address(x), address(out), bias ? address(bias) : 0];
      const size = run * rows * (a + groups * 2);
      const ranges = cut(kernels, rows, wholeBlocks(a, PANEL_ROWS), size);
      if (!isSpread(kernels, ranges.length, size)) {
        withScratch(kernels, exports.sandwichScratch(format, run, groups, a, b), (scratch) =>
          exports.sandwichLinear(
            ...[format, from, address(right), b, panels, scales, address(left), a],
            ...[to, biasAt, tokens, rows, groups, run, address(work), scratch],
          ),
        );
        return;
      }
      const turned = address(work);
      const inner = turned + 4 * run * cols;
      for (const { start, count } of equalRanges(tokens, run)) {
        const operands = { x: from + 4 * start * cols, blocks: address(right), out: turned };
        multiplyBlocks(kernels, { tokens: count, cols, size: b }, operands);
        withTokens(kernels, turned, count, groups, (ready) =>
          runRanges(
            kernels,
            "sandwichRows",
            ranges,
            size,
            () => exports.sandwichRowsScratch(format, count, groups, a),
            ({ start: row, count: own }) => [
              ...[format, ready, panels, scales, address(left), a, to + 4 * start * rows, biasAt],
              ...[count, rows, groups, inner, row, row + own],
            ],
          ),
        );
      }
    },
  };
}
