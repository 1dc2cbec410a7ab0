import { colsOf, f32, rowsOf, type Tensor } from "../../tensor.js";
import type { GemmOptions } from "../operations/gemm.js";

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
