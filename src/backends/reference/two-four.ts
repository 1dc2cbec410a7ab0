import type { Operations, TwoFourMatrix } from "../../backend.js";
import { indexBytes, packGroups, unpackGroups } from "../../pack.js";
import { colsOf, f32, rowsOf, u8 } from "../../tensor.js";
import { weightsOf } from "../half.js";

/** The stored form itself, copied. */
interface ReferenceMatrix extends TwoFourMatrix {
  readonly values: Float32Array;
  readonly indices: Uint8Array;
}

export const prepareTwoFour: Operations["prepareTwoFour"] = (values, indices, cols, options) => {
  const matrix: ReferenceMatrix = {
    rows: rowsOf(values),
    cols,
    bytes: 4 * values.size + indices.size,
    values: weightsOf(values, options).slice(),
    indices: u8(indices).slice(),
    dispose() {},
  };
  return matrix;
};

export const twoFourLinear: Operations["twoFourLinear"] = (x, weight, out, { bias } = {}) => {
  const { rows, cols, values, indices } = weight as ReferenceMatrix;
  const [xs, ys, bs] = [f32(x), f32(out), bias && f32(bias)];
  const tokens = rowsOf(x);
  const groups = cols / 4;
  const width = indexBytes(cols);
  for (let row = 0; row < rows; row++) {
    for (let t = 0; t < tokens; t++) {
      let sum = bs ? bs[row] : 0;
      let slot = row * groups * 2;
      for (let group = 0; group < groups; group++, slot += 2) {
        const code = indices[row * width + (group >> 1)] >> ((group & 1) * 4);
        const at = t * cols + group * 4;
        sum += values[slot] * xs[at + (code & 3)] + values[slot + 1] * xs[at + ((code >> 2) & 3)];
      }
      ys[t * rows + row] = sum;
    }
  }
};

export const packTwoFour: Operations["packTwoFour"] = async (w, values, indices) =>
  packGroups(f32(w), f32(values), u8(indices), rowsOf(w), colsOf(w));

export const unpackTwoFour: Operations["unpackTwoFour"] = (values, indices, w) =>
  unpackGroups(f32(values), u8(indices), f32(w), rowsOf(w), colsOf(w));
