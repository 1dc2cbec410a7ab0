import type { Operations, TwoFourMatrix } from "../../backend.js";
import { colsOf, f32, rowsOf } from "../../tensor.js";
import { hasScales } from "./dense.js";
import { address, cut, formatOf, type Kernels, runRanges } from "./kernels.js";

/** Rows that are prepared together. */
const PANEL_ROWS = 8;

/** The prepared form of assembly/lib/two-four-form.ts. */
export interface WasmMatrix extends TwoFourMatrix {
  /** As numbered in assembly/lib/half.ts. */
  readonly format: number;
  readonly panels: number;
  /** 0 where there are none. */
  readonly scales: number;
}

export function bind(kernels: Kernels): Partial<Operations> {
  const { exports, storage } = kernels;
  exports.twoFourStart();
  return {
    prepareTwoFour(values, indices, cols, options = {}) {
      const [rows, groups] = [rowsOf(values), cols / 4];
      const format = formatOf(values, options);
      const panelBytes = exports.twoFourBytes(format, rows, groups);
      const isScaled = hasScales(format);
      const bytes = panelBytes + (isScaled ? 32 * Math.ceil(rows / 8) : 0);
      const panels = storage.allocate(bytes);
      const scales = isScaled ? panels + panelBytes : 0;
      const { scales: given } = options;
      if (given) new Float32Array(storage.memory.buffer, scales, rows).set(f32(given));
      exports.twoFourPrepare(
        ...[format, address(values), address(indices), rows, groups, panels, scales],
      );
      let live = true;
      const matrix: WasmMatrix = {
        rows,
        cols,
        bytes,
        format,
        panels,
        scales,
        dispose() {
          if (live) storage.free(panels, bytes);
          live = false;
        },
      };
      return matrix;
    },
    twoFourLinear(x, weight, out, { bias } = {}) {
      const { rows, cols, format, panels, scales } = weight as WasmMatrix;
      const [tokens, groups] = [rowsOf(x), cols / 4];
      const operands = [address(x), panels, scales, address(out), bias ? address(bias) : 0];
      const work = tokens * rows * groups * 2;
      runRanges(
        kernels,
        "twoFourRows",
        cut(kernels, rows, PANEL_ROWS, work),
        work,
        () => exports.twoFourScratch(format, tokens, groups),
        ({ start, count }) => {
          return [format, ...operands, tokens, rows, groups, start, start + count];
        },
      );
    },
    async packTwoFour(w, values, indices) {
      return exports.twoFourPack(
        ...[address(w), address(values), address(indices), rowsOf(w), colsOf(w) / 4],
      );
    },
    unpackTwoFour(values, indices, w) {
      exports.twoFourUnpack(
        ...[address(w), address(values), address(indices), rowsOf(w), colsOf(w) / 4],
      );
    },
  };
}
