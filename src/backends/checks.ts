import type { Operations, WeightOptions } from "../backend.js";
import { colsOf, rowsOf, type Tensor, type TensorDType } from "../tensor.js";
import { diagonalBlocks, dtype, matrix, rule, vector } from "./operations/rules.js";

/** Weights are f32 or f16. */
function weightType({ dtype: given }: Tensor): TensorDType {
  return given === "u16" ? "u16" : "f32";
}

/** Requires weights [rows, cols] of any type, with scales where they are int8. */
function weights(
  operation: string,
  name: string,
  tensor: Tensor,
  cols: number,
  { scales }: WeightOptions = {},
): void {
  const isBytes = tensor.dtype === "u8";
  matrix(operation, name, tensor, rowsOf(tensor), cols, isBytes ? "u8" : weightType(tensor));
  rule(
    operation,
    isBytes === (scales !== undefined),
    () => `${name} is ${tensor.dtype}; int8 weights, in u8, need scales, and no others take any.`,
  );
  if (scales) vector(operation, "scales", scales, rowsOf(tensor));
}

/** What must hold of an operation's arguments, whichever backend serves it. */
export const checks: {
  readonly [Name in keyof Operations]?: (...args: Parameters<Operations[Name]>) => void;
} = {
  linear(x, weight, out, { bias } = {}) {
    let rows: number;
    if ("dtype" in weight) {
      rows = rowsOf(weight);
      matrix("linear", "weight", weight, rows, colsOf(x), weightType(weight));
    } else {
      rows = weight.rows;
      matrix("linear", "x", x, rowsOf(x), weight.cols);
    }
    matrix("linear", "out", out, rowsOf(x), rows);
    if (bias) vector("linear", "bias", bias, rows);
  },
  prepareLinear(weight, options) {
    weights("prepareLinear", "weight", weight, colsOf(weight), options);
  },
  prepareTwoFour(values, indices, cols, options) {
    rule(
      "prepareTwoFour",
      cols % 4 === 0,
      `cols ${cols} is not a multiple of 4; use the dense layout.`,
    );
    weights("prepareTwoFour", "values", values, cols / 2, options);
    matrix("prepareTwoFour", "indices", indices, rowsOf(values), Math.ceil(cols / 8), "u8");
  },
  twoFourLinear(x, weight, out, { bias } = {}) {
    matrix("twoFourLinear", "x", x, rowsOf(x), weight.cols);
    matrix("twoFourLinear", "out", out, rowsOf(x), weight.rows);
    if (bias) vector("twoFourLinear", "bias", bias, weight.rows);
  },
  sandwichLinear(x, weight, { left, right }, work, out, { bias } = {}) {
    const { rows, cols } = weight;
    matrix("sandwichLinear", "x", x, rowsOf(x), cols);
    diagonalBlocks("sandwichLinear", "left blocks", left, rows);
    diagonalBlocks("sandwichLinear", "right blocks", right, cols);
    dtype("sandwichLinear", "work", work, "f32");
    rule(
      "sandwichLinear",
      work.size >= rows + cols,
      () => `work has ${work.size} elements, must have ${rows + cols} at least.`,
    );
    matrix("sandwichLinear", "out", out, rowsOf(x), rows);
    if (bias) vector("sandwichLinear", "bias", bias, rows);
    rule("sandwichLinear", x !== out, "out is x; give another tensor.");
  },
  packTwoFour(w, values, indices) {
    const [rows, cols] = [rowsOf(w), colsOf(w)];
    rule(
      "packTwoFour",
      cols % 4 === 0,
      `${cols} columns are not a multiple of 4; use the dense layout.`,
    );
    matrix("packTwoFour", "values", values, rows, cols / 2);
    matrix("packTwoFour", "indices", indices, rows, Math.ceil(cols / 8), "u8");
  },
  unpackTwoFour(values, indices, w) {
    const [rows, cols] = [rowsOf(w), colsOf(w)];
    rule("unpackTwoFour", cols % 4 === 0, `${cols} columns are not a multiple of 4.`);
    matrix("unpackTwoFour", "values", values, rows, cols / 2);
    matrix("unpackTwoFour", "indices", indices, rows, Math.ceil(cols / 8), "u8");
  },
  blockDiagonal(x, blocks, out, { bias } = {}) {
    dtype("blockDiagonal", "x", x, "f32");
    diagonalBlocks("blockDiagonal", "blocks", blocks, colsOf(x));
    matrix("blockDiagonal", "out", out, rowsOf(x), colsOf(x));
    if (bias) vector("blockDiagonal", "bias", bias, colsOf(x));
    rule("blockDiagonal", x !== out, "out is x; give another tensor.");
  },
  embed(table, ids, out) {
    if ("dtype" in table) dtype("embed", "table", table, "f32");
    dtype("embed", "ids", ids, "i32");
    matrix("embed", "out", out, ids.size, "dtype" in table ? colsOf(table) : table.cols);
  },
};
