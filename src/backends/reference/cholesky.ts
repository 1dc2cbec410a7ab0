import { colsOf, f32, type Tensor } from "../../tensor.js";

/** Row by row: each element is a dot product of two finished rows (Cholesky-Banachiewicz). */
export async function cholesky(a: Tensor): Promise<number> {
  const n = colsOf(a);
  const data = f32(a);
  for (let i = 0; i < n; i++) {
    const row = i * n;
    for (let j = 0; j <= i; j++) {
      const other = j * n;
      let rest = data[row + j];
      for (let p = 0; p < j; p++) rest -= data[row + p] * data[other + p];
      if (j < i) data[row + j] = rest / data[other + j];
      else if (rest > 0) data[row + j] = Math.sqrt(rest);
      else return i;
    }
    data.fill(0, row + i + 1, row + n);
  }
  return -1;
}

/** Row i of the inverse is (e_i - sum over p < i of l[i][p] * row p) / l[i][i]. */
export async function triangularInverse(l: Tensor, out: Tensor): Promise<void> {
  const n = colsOf(l);
  const [lData, outData] = [l === out ? f32(l).slice() : f32(l), f32(out)];
  const sums = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    sums.fill(0);
    sums[i] = 1;
    for (let p = 0; p < i; p++) {
      const factor = lData[i * n + p];
      for (let j = 0; j <= p; j++) sums[j] -= factor * outData[p * n + j];
    }
    for (let j = 0; j < n; j++) outData[i * n + j] = sums[j] / lData[i * n + i];
  }
}

/** Turning a square matrix by half a turn reverses the order of its elements. */
export function reverse(a: Tensor): void {
  f32(a).reverse();
}
