import type { Operations, TwoFourMatrix } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { address, type Kernels, withFloats, withScratch } from "./kernels.js";

/** The prepared form of assembly/kernels/two-four.ts. */
export interface WasmMatrix extends TwoFourMatrix {
  readonly pairs: number;
  readonly codes: number;
}

export function bind(kernels: Kernels): Partial<Operations> {
  const { exports, storage } = kernels;
  exports.twoFourStart();
  return {
    prepareTwoFour(values, indices, cols) {
      const [rows, groups] = [rowsOf(values), cols / 4];
      const count = Math.ceil(rows / 2) * groups;
      const bytes = 17 * count;
      const pairs = storage.allocate(bytes);
      const codes = pairs + 16 * count;
      withFloats(kernels, values, (floats) =>
        exports.twoFourPrepare(floats, address(indices), rows, groups, pairs, codes),
      );
      let live = true;
      const matrix: WasmMatrix = {
        rows,
        cols,
        bytes,
        pairs,
        codes,
        dispose() {
          if (live) storage.free(pairs, bytes);
          live = false;
        },
      };
      return matrix;
    },
    twoFourLinear(x, weight, out, { bias } = {}) {
      const { rows, cols, pairs, codes } = weight as WasmMatrix;
      const [tokens, groups] = [rowsOf(x), cols / 4];
      const to = bias ? address(bias) : 0;
      withScratch(kernels, exports.twoFourScratch(tokens, groups), (scratch) =>
        exports.twoFourLinear(
          ...[address(x), pairs, codes, address(out), to],
          ...[tokens, rows, groups, scratch],
        ),
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
