import type { Operations } from "../../backend.js";
import { colsOf, f32, rowsOf } from "../../tensor.js";
import { GridData } from "./grid-data.js";

/** One row at a time: what a column's value is off by is taken off the later ones, as a share of u. */
export const gridSweep: Operations["gridSweep"] = async (w, u, grid, options) => {
  const [rows, cols] = [rowsOf(w), colsOf(w)];
  const [wData, uData] = [f32(w), f32(u)];
  const { pattern } = options;
  const data = new GridData(grid, cols, options);
  const omega = Float32Array.from({ length: cols }, (_, j) => 1 / uData[j * (cols + 1)] ** 2);
  const row = new Float64Array(cols);
  let loss = 0;
  for (let r = 0; r < rows; r++) {
    row.set(wData.subarray(r * cols, (r + 1) * cols));
    for (let j = 0; j < cols; j++) {
      if (j % data.span === 0) {
        if (pattern) data.keep(r, j, Math.min(cols, j + data.span), row, omega, pattern);
        data.fit(r, j, row, omega, options);
      }
      if (pattern && j % pattern.m === 0) data.keep(r, j, j + pattern.m, row, omega, pattern);
      const value = data.put(r, j, Math.fround(row[j]));
      const error = (row[j] - value) / uData[j * (cols + 1)];
      loss += error ** 2 / 2;
      row[j] = value;
      for (let k = j + 1; k < cols; k++) row[k] -= error * uData[j * cols + k];
    }
    wData.set(row, r * cols);
  }
  return loss;
};
