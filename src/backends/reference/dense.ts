import type { DenseMatrix, Operations } from "../../backend.js";
import { colsOf, f32, rowsOf, type Tensor } from "../../tensor.js";
import { weightsOf } from "../half.js";

/** The numbers of a prepared matrix, all widened. */
interface ReferenceDense extends DenseMatrix {
  readonly values: Float32Array;
}

/** Rows, columns and numbers of a weight, which may have been prepared. */
export function denseOf(weight: Tensor | DenseMatrix): Omit<ReferenceDense, "bytes" | "dispose"> {
  if ("values" in weight) return weight as ReferenceDense;
  const tensor = weight as Tensor;
  return { rows: rowsOf(tensor), cols: colsOf(tensor), values: weightsOf(tensor) };
}

export const prepareLinear: Operations["prepareLinear"] = (weight, options) => {
  const matrix: ReferenceDense = {
    rows: rowsOf(weight),
    cols: colsOf(weight),
    bytes: 4 * weight.size,
    values: weightsOf(weight, options).slice(),
    dispose() {},
  };
  return matrix;
};

export const linear: Operations["linear"] = (x, weight, out, { bias } = {}) => {
  const { rows: outFeatures, cols: inFeatures, values: wData } = denseOf(weight);
  const [xData, outData] = [f32(x), f32(out)];
  const biasData = bias && f32(bias);
  for (let t = 0; t < rowsOf(x); t++) {
    for (let o = 0; o < outFeatures; o++) {
      let sum = biasData ? biasData[o] : 0;
      for (let i = 0; i < inFeatures; i++) {
        sum += xData[t * inFeatures + i] * wData[o * inFeatures + i];
      }
      outData[t * outFeatures + o] = sum;
    }
  }
};
