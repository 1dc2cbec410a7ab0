import type { Operations } from "../../backend.js";
import { colsOf, f32, rowsOf } from "../../tensor.js";
import { weightsOf } from "../half.js";
import { denseOf, type ReferenceDense } from "./dense-matrix.js";

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
