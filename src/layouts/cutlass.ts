/**
 * The layout `cutlass`, version 1: a 2:4-sparse weight NAME [rows, cols] as the CUTLASS kernels behind
 * PyTorch's torch.sparse.SparseSemiStructuredTensorCUTLASS read it, in two tensors:
 *
 *   NAME.cutlass.values   the weight's dtype [rows, cols/2]    the two slots of each group
 *   NAME.cutlass.meta     F16, BF16: I16 [rows, cols/16]       where they stood, in words of 4 groups
 *                         I8:        I32 [rows, cols/32]       in words of 8 groups
 *
 *   a word of row r, columns 16w to 16w+15       bits 15-14 13-12 11-10  9-8  7-6  5-4  3-2  1-0
 *                                                       i1    i0    i1    i0   i1   i0   i1   i0
 *                                                      group 3     group 2    group 1    group 0
 *   of I8, columns 32w to 32w+31                 the same with 8 groups in 32 bits
 *
 * i0 < i1 are the columns of the slots within their group. A group with fewer than two non-zeros
 * stores zeros where PyTorch does: see FILLED.
 *
 * The words do not stand in order. With blocks of g rows, g = 32 and s = 4 for 16-bit words, g = 16
 * and s = 2 for 32-bit words, the word (r, w) goes to
 *
 *   r' = r - r mod g + (r mod 8) * s + floor((r mod g) / 8),   w' = w
 *   then in each 2x2 square (r', w') the top right and the bottom left one change places:
 *
 *                w' even  w' odd                even  odd
 *     r' even      a        b       becomes      a     c
 *     r' odd       c        d                    b     d
 *
 *   and they are stored by pairs of columns, each pair row by row:
 *     word number floor(w'/2) * 2 * rows + 2 * r' + w' mod 2
 *
 * Source: torch/sparse/_semi_structured_conversions.py of PyTorch 2.13, which does what CUTLASS's
 * reorder_meta does. Rows are multiples of 32 and columns of 64 (F16, BF16), or of 16 and 128 (I8).
 */
import type { Layout, TensorEntry } from "../layout.js";
import { type GroupCodes, indexBytes, LOWEST_ZEROS } from "../pack.js";
import { elementBytes, matrixRefusal, partBytes } from "./parts/elements.js";
import { CUTLASS_META, CUTLASS_VALUES } from "./parts/nvidia-names.js";
import { type Shape, tileRefusal, withPadding } from "./parts/padding.js";
import { loaderFiles } from "./parts/python-loader.js";
import { findWeights, type PartNames } from "./parts/stored.js";
import { packSlots, refuse, unpackSlots } from "./parts/two-of-four.js";

/** Codes of groups with fewer than two non-zeros, by the bit set of these. */
const FILLED: Readonly<Record<number, number>> = { 0: 14, 1: 8, 2: 9, 4: 14, 8: 14 };

const CODES: GroupCodes = LOWEST_ZEROS.map((code, set) => FILLED[set] ?? code);

/** Bytes of a word of metadata. */
function wordBytes(weight: TensorEntry): 2 | 4 {
  return elementBytes(weight) === 1 ? 4 : 2;
}

/** Rows and columns that a weight must have a whole number of. */
function tileOf(weight: TensorEntry): Shape {
  return elementBytes(weight) === 1 ? [16, 128] : [32, 64];
}

function refusal(weight: TensorEntry): string | undefined {
  return (
    matrixRefusal(weight, ["F16", "BF16", "I8"], "for CUTLASS") ??
    tileRefusal(weight, tileOf(weight), "cutlass")
  );
}

function entries(weight: TensorEntry): TensorEntry[] {
  const { name, dtype, shape } = weight;
  const [rows, cols] = shape;
  const bytes = wordBytes(weight);
  return [
    { name: name + CUTLASS_VALUES, dtype, shape: [rows, cols / 2] },
    {
      name: name + CUTLASS_META,
      dtype: bytes === 2 ? "I16" : "I32",
      shape: [rows, cols / (8 * bytes)],
    },
  ];
}

/** Where the word of a row is stored, counted in words. */
function placeOf(row: number, word: number, rows: number, bytes: 2 | 4): number {
  const [block, stride] = bytes === 2 ? [32, 4] : [16, 2];
  let r = row - (row % block) + (row % 8) * stride + Math.floor((row % block) / 8);
  let w = word;
  if (r % 2 === 0 && w % 2 === 1) [r, w] = [r + 1, w - 1];
  else if (r % 2 === 1 && w % 2 === 0) [r, w] = [r - 1, w + 1];
  return (w >> 1) * 2 * rows + 2 * r + (w & 1);
}

/** Words of metadata hold the bytes of two-four's indices: `move` gets the place of each of both. */
function eachWord(weight: TensorEntry, move: (ordered: number, placed: number) => void): void {
  const [rows, cols] = weight.shape;
  const bytes = wordBytes(weight);
  const words = indexBytes(cols) / bytes;
  for (let row = 0; row < rows; row++) {
    for (let word = 0; word < words; word++) {
      move((row * words + word) * bytes, placeOf(row, word, rows, bytes) * bytes);
    }
  }
}

const NAMES: PartNames = {
  lead: CUTLASS_VALUES,
  meaning: "the values of a 2:4 weight for CUTLASS",
  others: [CUTLASS_META],
  entries,
  weightOf({ dtype, shape }, name) {
    const weight = { name, dtype, shape: [shape[0], 2 * shape[1]] };
    return shape.length === 2 && !refusal(weight) ? weight : undefined;
  },
};

export const cutlass: Layout = withPadding(
  {
    name: "cutlass",
    version: 1,
    holds: "2:4",
    byRows: false,
    confirmed:
      "equal to what PyTorch 2.13 packs on the CPU; products with it not run on a GPU by penjing",
    files: loaderFiles,
    refusal,
    entries,
    pack(weight, bytes) {
      refuse(weight, refusal(weight));
      const { values, indices } = packSlots(weight, bytes, CODES);
      const meta = new Uint8Array(indices.length);
      const size = wordBytes(weight);
      eachWord(weight, (ordered, placed) => {
        meta.set(indices.subarray(ordered, ordered + size), placed);
      });
      return new Map([
        [weight.name + CUTLASS_VALUES, values],
        [weight.name + CUTLASS_META, meta],
      ]);
    },
    weights: (stored) => findWeights(stored, NAMES),
    unpack(weight, parts) {
      refuse(weight, refusal(weight));
      const [values, meta] = partBytes(weight, entries(weight), parts);
      const indices = new Uint8Array(meta.length);
      const size = wordBytes(weight);
      eachWord(weight, (ordered, placed) => {
        indices.set(meta.subarray(placed, placed + size), ordered);
      });
      return unpackSlots(weight, { values, indices }, weight.name + CUTLASS_META);
    },
  },
  tileOf,
);
