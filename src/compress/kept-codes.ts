/** Codes of a 2:4 matrix on a grid without those that its mask removes. */
import type { Backend } from "../backend.js";
import type { Leaf } from "../form.js";
import { indexBytes, notTwoFour, packGroups } from "../pack.js";

/**
 * A dense leaf on a symmetric grid as the 2:4 one of its kept codes, in the place of its own codes. Groups that
 * keep fewer than two store the zero point's code at their lowest columns that go.
 *
 * @param mask u8 [rows * cols], 1 = kept; what goes has the zero point's code
 * @throws PenjingError when a group keeps more than two
 */
export async function keptLeaf(backend: Backend, leaf: Leaf, mask: Uint8Array): Promise<Leaf> {
  const { shape, parts } = leaf;
  const [rows, cols] = shape;
  const dense = parts.get("values")!;
  const codes = (await backend.read(dense)) as Uint8Array;
  const [kept, indices] = [
    new Uint8Array((rows * cols) / 2),
    new Uint8Array(rows * indexBytes(cols)),
  ];
  const bad = packGroups(mask, kept, indices, rows, cols);
  if (bad >= 0) throw notTwoFour("two-four-int", bad, cols);
  const groups = cols / 4;
  for (let group = 0; group < rows * groups; group++) {
    const row = Math.floor(group / groups);
    const byte = indices[row * indexBytes(cols) + ((group % groups) >> 1)];
    const code = byte >> (((group % groups) & 1) * 4);
    kept[2 * group] = codes[4 * group + (code & 3)];
    kept[2 * group + 1] = codes[4 * group + ((code >> 2) & 3)];
  }
  const values = backend.upload(kept, [rows, cols / 2]);
  const places = backend.upload(indices, [rows, indexBytes(cols)]);
  dense.dispose();
  const { values: _, ...others } = Object.fromEntries(parts);
  const held = new Map([["values", values], ["indices", places], ...Object.entries(others)]);
  return { ...leaf, structure: { kind: "n:m", n: 2, m: 4 }, parts: held };
}
