import type { DenseMatrix, GemmOptions, Operations } from "../../backend.js";
import { colsOf, f32, rowsOf, type Tensor } from "../../tensor.js";
import { weightsOf } from "../half.js";

export function gemm(
  a: Tensor,
  b: Tensor,
  out: Tensor,
  { transposeA = false, transposeB = false, alpha = 1, accumulate = false }: GemmOptions = {},
): void {
  const [m, n] = [rowsOf(out), colsOf(out)];
  const k = transposeA ? rowsOf(a) : colsOf(a);
  const [aRow, aStep] = transposeA ? [1, m] : [k, 1];
  const [bStep, bCol] = transposeB ? [1, k] : [n, 1];
  const [aData, bData, outData] = [f32(a), f32(b), f32(out)];
  const sums = new Float64Array(n);
  for (let i = 0; i < m; i++) {
    sums.fill(0);
    for (let p = 0; p < k; p++) {
      const factor = aData[i * aRow + p * aStep];
      for (let j = 0; j < n; j++) sums[j] += factor * bData[p * bStep + j * bCol];
    }
    for (let j = 0; j < n; j++) {
      const at = i * n + j;
      outData[at] = alpha * sums[j] + (accumulate ? outData[at] : 0);
    }
  }
}

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
