import { removedCount } from "../../sparsity.js";
import { colsOf, f32, rowsOf, type Tensor, u8 } from "../../tensor.js";
import type { ColumnSweepOptions } from "../operations/column-sweep.js";
import { dropSmallest, keepLargest } from "../selection.js";

/**
 * One row at a time within a block of columns. A weight's new value leaves the error
 * e = (w - value) / u[i][i], which is taken off every later column j as e * u[i][j].
 */
export async function columnSweep(
  w: Tensor,
  u: Tensor,
  mask: Tensor,
  { pattern, blockSize }: ColumnSweepOptions,
): Promise<number> {
  const [rows, cols] = [rowsOf(w), colsOf(w)];
  const [wData, uData, maskData] = [f32(w), f32(u), u8(mask)];
  const row = new Float64Array(cols);
  let loss = 0;
  for (let start = 0; start < cols; start += blockSize) {
    const width = Math.min(blockSize, cols - start);
    const keep = new Uint8Array(rows * width);
    const scores = new Float32Array(rows * width);
    if ("ratio" in pattern) {
      for (let r = 0; r < rows; r++) {
        for (let c = 0; c < width; c++) {
          const column = start + c;
          scores[r * width + c] = (wData[r * cols + column] / uData[column * (cols + 1)]) ** 2;
        }
      }
      dropSmallest(scores, keep, removedCount(scores.length, pattern.ratio));
    }
    for (let r = 0; r < rows; r++) {
      const rowKeep = keep.subarray(r * width, (r + 1) * width);
      row.set(wData.subarray(r * cols, (r + 1) * cols));
      for (let c = 0; c < width; c++) {
        const column = start + c;
        if ("m" in pattern && c % pattern.m === 0) {
          for (let i = c; i < c + pattern.m; i++) {
            scores[i] = (row[start + i] / uData[(start + i) * (cols + 1)]) ** 2;
          }
          keepLargest(scores, rowKeep, c, pattern.n, pattern.m);
        }
        const value = rowKeep[c] === 1 ? row[column] : 0;
        const error = (row[column] - value) / uData[column * (cols + 1)];
        loss += error ** 2 / 2;
        row[column] = value;
        if (error === 0) continue;
        for (let j = column + 1; j < cols; j++) row[j] -= error * uData[column * cols + j];
      }
      wData.set(row, r * cols);
      maskData.set(rowKeep, r * cols + start);
    }
  }
  return loss;
}
