/**
 * The layout `cusparselt-sm80`, version 1: a 2:4-sparse weight NAME [rows, cols] in F16 or BF16 as the
 * one buffer that cuSPARSELt compresses to on NVIDIA GPUs of compute capability 8.x, and that PyTorch
 * keeps in torch.sparse.SparseSemiStructuredTensorCUSPARSELT:
 *
 *   NAME.cusparselt_sm80   the weight's dtype [rows, cols * 9/16]
 *
 *   byte 0                         rows * cols                rows * cols * 9/8
 *   | values: [rows, cols/2], the  | metadata: 16-bit words,  |
 *   | two slots of each group      | rows * cols / 16 of them |
 *
 *   the word of row r, columns c to c+15:   bits 15-14 13-12 11-10  9-8  7-6  5-4  3-2  1-0
 *                                                  i1    i0    i1    i0   i1   i0   i1   i0
 *                                                 group 3     group 2    group 1    group 0
 *
 *   its number, all divisions whole:
 *     tiles of 128 rows by 64 columns     ((c/64) * (rows/128) + r/128) * 512
 *     halves of 32 columns                + (c%64)/32 * 256
 *     quarters of 32 rows                 + (r%128)/32 * 64
 *     then                                + (r%8) * 8 + (r%32)/16 * 4 + (c%32)/16 * 2 + (r%16)/8
 *
 * i0 < i1 are the columns of the slots within their group; a group with fewer than two non-zeros
 * stores zeros at its lowest zero columns. Rows and columns are multiples of 128.
 *
 * Derived from public CUDA sources and not confirmed on a GPU. NVIDIA may change the buffer from one
 * version of cuSPARSELt to the next; the dense weight can always be rebuilt from it.
 */
import { makeCusparselt } from "./parts/cusparselt.js";

export const cusparseltSm80 = makeCusparselt({
  name: "cusparselt-sm80",
  tile: 128,
  place(row, group, rows) {
    const column = 4 * group;
    const tile = (column >> 6) * (rows / 128) + (row >> 7);
    const word =
      tile * 512 +
      ((column & 63) >> 5) * 256 +
      ((row & 127) >> 5) * 64 +
      (row & 7) * 8 +
      ((row & 31) >> 4) * 4 +
      ((column & 31) >> 4) * 2 +
      ((row & 15) >> 3);
    return 4 * word + (group & 3);
  },
});
