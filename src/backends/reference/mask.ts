import { colsOf, f32, rowsOf, type Tensor, u8 } from "../../tensor.js";
import { dropSmallest, keepLargest } from "../selection.js";

/** Rounds after each factor, as a float32 kernel does, so that every backend sees the same ties. */
export function scaledMagnitude(
  w: Tensor,
  out: Tensor,
  columnScale: Tensor | undefined,
  rowScale: Tensor | undefined,
): void {
  const [rows, cols] = [rowsOf(w), colsOf(w)];
  const [wData, outData] = [f32(w), f32(out)];
  const columns = columnScale && f32(columnScale);
  const rowFactors = rowScale && f32(rowScale);
  for (let r = 0; r < rows; r++) {
    const rowFactor = rowFactors ? rowFactors[r] : 1;
    for (let c = 0; c < cols; c++) {
      const score = Math.abs(wData[r * cols + c]) * (columns ? columns[c] : 1);
      outData[r * cols + c] = Math.fround(score) * rowFactor;
    }
  }
}

export function selectNofM(scores: Tensor, mask: Tensor, n: number, m: number): void {
  const [scoresData, maskData] = [f32(scores), u8(mask)];
  for (let start = 0; start < scoresData.length; start += m) {
    keepLargest(scoresData, maskData, start, n, m);
  }
}

export function selectPerRow(scores: Tensor, mask: Tensor, count: number): void {
  const cols = colsOf(scores);
  const [scoresData, maskData] = [f32(scores), u8(mask)];
  for (let start = 0; start < scoresData.length; start += cols) {
    const end = start + cols;
    dropSmallest(scoresData.subarray(start, end), maskData.subarray(start, end), count);
  }
}

export function selectPerMatrix(scores: Tensor, mask: Tensor, count: number): void {
  dropSmallest(f32(scores), u8(mask), count);
}

export function applyMask(w: Tensor, mask: Tensor): void {
  const [wData, maskData] = [f32(w), u8(mask)];
  for (let i = 0; i < wData.length; i++) if (maskData[i] === 0) wData[i] = 0;
}
