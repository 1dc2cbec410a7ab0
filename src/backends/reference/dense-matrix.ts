import type { DenseMatrix } from "../../backend.js";
import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import { weightsOf } from "../half.js";

/** The numbers of a prepared matrix, all widened. */
export interface ReferenceDense extends DenseMatrix {
  readonly values: Float32Array;
}

/** Rows, columns and numbers of a weight, which may have been prepared. */
export function denseOf(weight: Tensor | DenseMatrix): Omit<ReferenceDense, "bytes" | "dispose"> {
  if ("values" in weight) return weight as ReferenceDense;
  const tensor = weight as Tensor;
  return { rows: rowsOf(tensor), cols: colsOf(tensor), values: weightsOf(tensor) };
}
