import type { Operations } from "../../backend.js";
import { colsOf, f32, rowsOf, type Tensor } from "../../tensor.js";
import type { GridOptions, GridTensors } from "../operations/fit-scales.js";
import { GridData } from "./grid-data.js";

export const fitScales: Operations["fitScales"] = async (w, omega, grid, options) => {
  const [rows, cols] = [rowsOf(w), colsOf(w)];
  const data = new GridData(grid, cols, options);
  const weights = f32(omega);
  for (let row = 0; row < rows; row++) {
    const values = f32(w).subarray(row * cols, (row + 1) * cols);
    for (let col = 0; col < cols; col++) {
      if (col % data.span === 0) data.fit(row, col, values, weights, options);
      data.put(row, col, values[col]);
    }
  }
};

export async function fromGrid(
  grid: GridTensors,
  out: Tensor,
  options: Pick<GridOptions, "bits" | "groupSize">,
): Promise<void> {
  const [rows, cols] = [rowsOf(out), colsOf(out)];
  const data = new GridData(grid, cols, options);
  const to = f32(out);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      to[row * cols + col] = data.shape.value(data.codeOf(row, col), data.scaleOf(row, col));
    }
  }
}
