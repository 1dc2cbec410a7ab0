/**
 * The layout `cusparselt-sm90`, version 1: a 2:4-sparse weight NAME [rows, cols] in F16 or BF16 as the
 * one buffer that cuSPARSELt compresses to on NVIDIA GPUs of compute capability 9.0, and that PyTorch
 * keeps in torch.sparse.SparseSemiStructuredTensorCUSPARSELT:
 *
 *   NAME.cusparselt_sm90   the weight's dtype [rows, cols * 9/16]
 *
 *   byte 0                         rows * cols                rows * cols * 9/8
 *   | values: [rows, cols/2], the  | metadata: rows * cols/8  |
 *   | two slots of each group      | bytes                    |
 *
 *   the byte of columns c to c+3 and of the rows r and r+8, r%16 < 8:
 *     bits 7-6  5-4  3-2  1-0
 *           i1   i0   i1   i0
 *          row r+8   row r
 *
 *   its number, all divisions whole:
 *     strips of 64 rows                   (r/64) * 8 * cols
 *     pieces of 32 columns                + (c/32) * 256
 *     quarters of 16 rows                 + (r%64)/16 * 64
 *     then                                + (r%8) * 8 + (c%16)/4 * 2 + (c%32)/16
 *
 * i0 < i1 are the columns of the slots within their group; a group with fewer than two non-zeros
 * stores zeros at its lowest zero columns. Rows and columns are multiples of 64.
 *
 * Derived from public CUDA sources and not confirmed on a GPU. NVIDIA may change the buffer from one
 * version of cuSPARSELt to the next; the dense weight can always be rebuilt from it.
 */
import { makeCusparselt } from "./parts/cusparselt.js";

export const cusparseltSm90 = makeCusparselt({
  name: "cusparselt-sm90",
  tile: 64,
  place(row, group, _rows, cols) {
    const column = 4 * group;
    const byte =
      (row >> 6) * 8 * cols +
      (column >> 5) * 256 +
      ((row & 63) >> 4) * 64 +
      (row & 7) * 8 +
      ((column & 15) >> 2) * 2 +
      ((column & 31) >> 4);
    return 2 * byte + ((row & 15) >> 3);
  },
});
