/** The layouts of cuSPARSELt, which differ in the order of the group codes alone. */
import type { Layout, TensorEntry } from "../../layout.js";
import { indexBytes } from "../../pack.js";
import { sizeOf } from "../../tensor.js";
import { matrixRefusal, partBytes } from "./elements.js";
import { CUSPARSELT_ENDINGS } from "./nvidia-names.js";
import { tileRefusal, withPadding } from "./padding.js";
import { loaderFiles } from "./python-loader.js";
import { findWeights, type PartNames } from "./stored.js";
import { packSlots, refuse, unpackSlots } from "./two-of-four.js";

interface Cusparselt {
  readonly name: keyof typeof CUSPARSELT_ENDINGS;
  /** Rows, and columns, that a weight must have a whole number of. */
  readonly tile: number;
  /** Where the code of a group of a row stands in the metadata, counted in codes, low half first. */
  place(row: number, group: number, rows: number, cols: number): number;
}

export function makeCusparselt({ name, tile, place }: Cusparselt): Layout {
  const ending = CUSPARSELT_ENDINGS[name];
  const refusal = (weight: TensorEntry) =>
    matrixRefusal(weight, ["F16", "BF16"], "for cuSPARSELt") ??
    tileRefusal(weight, [tile, tile], name);
  const entries = ({ name: weight, dtype, shape: [rows, cols] }: TensorEntry): TensorEntry[] => [
    { name: weight + ending, dtype, shape: [rows, (cols / 16) * 9] },
  ];
  const names: PartNames = {
    lead: ending,
    meaning: `a 2:4 weight for ${name}`,
    others: [],
    entries,
    weightOf({ dtype, shape }, stem) {
      const weight = { name: stem, dtype, shape: [shape[0], (shape[1] / 9) * 16] };
      return shape.length === 2 && !refusal(weight) ? weight : undefined;
    },
  };
  /** Moves every code between its place in two-four's indices and that in the metadata. */
  const move = (
    { shape: [rows, cols] }: TensorEntry,
    copy: (ordered: number, placed: number) => void,
  ) => {
    const codes = 2 * indexBytes(cols);
    for (let row = 0; row < rows; row++) {
      for (let group = 0; group < cols / 4; group++) {
        copy(row * codes + group, place(row, group, rows, cols));
      }
    }
  };
  const layout: Layout = {
    name,
    version: 1,
    holds: "2:4",
    byRows: false,
    confirmed: "predicted from public sources, not confirmed on a GPU",
    files: loaderFiles,
    refusal,
    entries,
    pack(weight, bytes) {
      refuse(weight, refusal(weight));
      const { values, indices } = packSlots(weight, bytes);
      const buffer = new Uint8Array(values.length + indices.length);
      buffer.set(values);
      const meta = buffer.subarray(values.length);
      move(weight, (ordered, placed) => copyCode(indices, ordered, meta, placed));
      return new Map([[weight.name + ending, buffer]]);
    },
    weights: (stored) => findWeights(stored, names),
    unpack(weight, parts) {
      refuse(weight, refusal(weight));
      const [buffer] = partBytes(weight, entries(weight), parts);
      // Half of the elements, of 2 bytes each.
      const values = buffer.subarray(0, sizeOf(weight.shape));
      const meta = buffer.subarray(values.length);
      const indices = new Uint8Array(meta.length);
      move(weight, (ordered, placed) => copyCode(meta, placed, indices, ordered));
      return unpackSlots(weight, { values, indices }, weight.name + ending);
    },
  };
  return withPadding(layout, () => [tile, tile]);
}

/** Adds a code of 4 bits to an array of zeros; places count codes, the low half of a byte first. */
function copyCode(from: Uint8Array, source: number, to: Uint8Array, target: number): void {
  const code = (from[source >> 1] >> ((source & 1) * 4)) & 15;
  to[target >> 1] |= code << ((target & 1) * 4);
}
