import { colsOf, f32, rowsOf, type Tensor } from "../../tensor.js";

export function accumulateHessian(x: Tensor, hessian: Tensor, scale: number): void {
  const [tokens, n] = [rowsOf(x), colsOf(x)];
  const [xData, hData] = [f32(x), f32(hessian)];
  const sums = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    sums.fill(0);
    for (let t = 0; t < tokens; t++) {
      const factor = xData[t * n + i];
      for (let j = i; j < n; j++) sums[j] += factor * xData[t * n + j];
    }
    for (let j = i; j < n; j++) hData[i * n + j] += scale * sums[j];
  }
}

export function mirrorUpper(a: Tensor): void {
  const n = colsOf(a);
  const data = f32(a);
  for (let i = 1; i < n; i++) {
    for (let j = 0; j < i; j++) data[i * n + j] = data[j * n + i];
  }
}

export function accumulateColumnSquares(x: Tensor, sums: Tensor): void {
  const n = colsOf(x);
  const [xData, sumsData] = [f32(x), f32(sums)];
  const squares = new Float64Array(n);
  for (let t = 0; t < rowsOf(x); t++) {
    for (let j = 0; j < n; j++) squares[j] += xData[t * n + j] ** 2;
  }
  for (let j = 0; j < n; j++) sumsData[j] += squares[j];
}

export async function quadraticForm(d: Tensor, h: Tensor): Promise<number> {
  const n = colsOf(d);
  const [dData, hData] = [f32(d), f32(h)];
  const product = new Float64Array(n);
  let total = 0;
  for (let r = 0; r < rowsOf(d); r++) {
    product.fill(0);
    for (let i = 0; i < n; i++) {
      const factor = dData[r * n + i];
      for (let j = 0; j < n; j++) product[j] += factor * hData[i * n + j];
    }
    for (let j = 0; j < n; j++) total += product[j] * dData[r * n + j];
  }
  return total;
}

export async function sumOfSquares(x: Tensor): Promise<number> {
  let sum = 0;
  for (const value of f32(x)) sum += value * value;
  return sum;
}

export async function countNonFinite(x: Tensor): Promise<number> {
  let count = 0;
  for (const value of f32(x)) if (!Number.isFinite(value)) count++;
  return count;
}
