import type { Operations } from "../../backend.js";
import { colsOf, f32, rowsOf } from "../../tensor.js";

export const blockDiagonal: Operations["blockDiagonal"] = (x, blocks, out, { bias } = {}) => {
  const [rows, cols, size] = [rowsOf(x), colsOf(x), colsOf(blocks)];
  const [xData, blocksData, outData] = [f32(x), f32(blocks), f32(out)];
  const biases = bias && f32(bias);
  for (let t = 0; t < rows; t++) {
    for (let c = 0; c < cols; c++) {
      const start = t * cols + c - (c % size);
      let sum = biases ? biases[c] : 0;
      for (let i = 0; i < size; i++) sum += blocksData[c * size + i] * xData[start + i];
      outData[t * cols + c] = sum;
    }
  }
};
