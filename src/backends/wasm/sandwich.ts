import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { address, type Kernels, withScratch } from "./kernels.js";
import type { WasmMatrix } from "./two-four.js";

export function bind(kernels: Kernels): Partial<Operations> {
  const { sandwichLinear, sandwichScratch } = kernels.exports;
  return {
    sandwichLinear(x, weight, { left, right }, work, out, { bias } = {}) {
      const { rows, cols, format, panels, scales } = weight as WasmMatrix;
      const [tokens, groups] = [rowsOf(x), cols / 4];
      const [a, b] = [colsOf(left), colsOf(right)];
      const run = Math.min(tokens, Math.floor(work.size / (rows + cols)));
      withScratch(kernels, sandwichScratch(format, run, groups, a, b), (scratch) =>
        sandwichLinear(
          ...[format, address(x), address(right), b, panels, scales, address(left), a],
          ...[address(out), bias ? address(bias) : 0],
          ...[tokens, rows, groups, run, address(work), scratch],
        ),
      );
    },
  };
}
