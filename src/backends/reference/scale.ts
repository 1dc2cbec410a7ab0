import type { Operations } from "../../backend.js";
import { colsOf, f32, rowsOf } from "../../tensor.js";

export const diagonal: Operations["diagonal"] = (a, out) => {
  const [source, target, n] = [f32(a), f32(out), colsOf(a)];
  for (let i = 0; i < n; i++) target[i] = source[i * n + i];
};

export const addDiagonal: Operations["addDiagonal"] = (a, values) => {
  const [target, source, n] = [f32(a), f32(values), colsOf(a)];
  for (let i = 0; i < n; i++) target[i * n + i] += source[i];
};

export const scale: Operations["scale"] = (x, factor) => {
  const data = f32(x);
  for (let i = 0; i < data.length; i++) data[i] *= factor;
};

export const scaleColumns: Operations["scaleColumns"] = (w, scale) => {
  const [data, factors, cols] = [f32(w), f32(scale), colsOf(w)];
  for (let i = 0; i < data.length; i++) data[i] *= factors[i % cols];
};

export const rowSquares: Operations["rowSquares"] = (w, out, columnScale) => {
  const [data, target, factors] = [f32(w), f32(out), f32(columnScale)];
  const [rows, cols] = [rowsOf(w), colsOf(w)];
  for (let r = 0; r < rows; r++) {
    let sum = 0;
    for (let c = 0; c < cols; c++) sum += (data[r * cols + c] * factors[c]) ** 2;
    target[r] = sum;
  }
};

export const subtract: Operations["subtract"] = (a, b, out) => {
  const [x, y, target] = [f32(a), f32(b), f32(out)];
  for (let i = 0; i < target.length; i++) target[i] = x[i] - y[i];
};
