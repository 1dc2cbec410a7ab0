import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { Contracts } from "./contract.js";
import { dtype, sameSize, square, vector } from "./rules.js";

export interface ScaleOperations {
  /** out [C] = the diagonal of a [C, C]. */
  diagonal(a: Tensor, out: Tensor): void;
  /** a [C, C] += diag(values [C]). */
  addDiagonal(a: Tensor, values: Tensor): void;
  /** x *= factor, element by element. */
  scale(x: Tensor, factor: number): void;
  /** w [R, C] *= scale [C], column by column. */
  scaleColumns(w: Tensor, scale: Tensor): void;
  /** out [R] = sum over columns of (w [R, C] * columnScale [C])². */
  rowSquares(w: Tensor, out: Tensor, columnScale: Tensor): void;
  /** out = a - b, elementwise. `out` may be a or b. */
  subtract(a: Tensor, b: Tensor, out: Tensor): void;
}

export const scale: Contracts<ScaleOperations> = {
  diagonal: {
    check(a, out) {
      vector("diagonal", "out", out, square("diagonal", "a", a));
    },
  },
  addDiagonal: {
    check(a, values) {
      vector("addDiagonal", "values", values, square("addDiagonal", "a", a));
    },
  },
  scale: {
    elements: [0],
    check(x) {
      dtype("scale", "x", x, "f32");
    },
  },
  scaleColumns: {
    rows: [0],
    check(w, scale) {
      dtype("scaleColumns", "w", w, "f32");
      vector("scaleColumns", "scale", scale, colsOf(w));
    },
  },
  rowSquares: {
    rows: [0, 1],
    check(w, out, columnScale) {
      dtype("rowSquares", "w", w, "f32");
      vector("rowSquares", "out", out, rowsOf(w));
      vector("rowSquares", "columnScale", columnScale, colsOf(w));
    },
  },
  subtract: {
    elements: [0, 1, 2],
    check(a, b, out) {
      sameSize("subtract", a, b);
      sameSize("subtract", a, out);
    },
  },
};
