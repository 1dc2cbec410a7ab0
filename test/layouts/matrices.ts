import fc from "fast-check";
import type { Layout, TensorEntry } from "../../src/layout.js";
import { layoutMetadata, layoutOf, layouts } from "../../src/layouts/index.js";
import { Random } from "../../src/random.js";

export const SIZES: Readonly<Record<string, number>> = {
  I64: 8,
  F32: 4,
  I32: 4,
  F16: 2,
  BF16: 2,
  I16: 2,
  I8: 1,
  U8: 1,
};

export interface Case {
  readonly weight: TensorEntry;
  readonly bytes: Uint8Array;
}

/** What stands in the places of a group: any bits, NaNs, infinities and the smallest numbers too. */
function putElement(bytes: Uint8Array, at: number, size: number, random: Random): void {
  for (let i = 0; i < size; i++) bytes[at + i] = Math.floor(random.next() * 256);
  // A low bit set: no element is a zero, of whatever dtype.
  bytes[at] |= 1;
}

/** A matrix whose groups of 4 have `least` to `most` non-zeros, as many of each. */
export function sparseMatrix(
  dtype: TensorEntry["dtype"],
  rows: number,
  cols: number,
  { least = 0, most = 2, seed = 1, name = "m.weight" } = {},
): Case {
  const size = SIZES[dtype];
  const random = new Random(seed);
  const bytes = new Uint8Array(rows * cols * size);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col += 4) {
      const free = [col, col + 1, col + 2, col + 3].filter((i) => i < cols);
      let count = Math.min(free.length, least + Math.floor(random.next() * (most - least + 1)));
      for (; count > 0; count--) {
        const [place] = free.splice(Math.floor(random.next() * free.length), 1);
        putElement(bytes, (row * cols + place) * size, size, random);
      }
    }
  }
  return { weight: { name, dtype, shape: [rows, cols] }, bytes };
}

/** Matrices that a layout takes, of all dtypes and the smallest shapes, empty ones where it can. */
export function casesFor(layout: Layout): fc.Arbitrary<Case> {
  const dtypes = (["F32", "F16", "BF16", "I8"] as const).filter(
    (dtype) => !/dtype/.test(layout.refusal({ name: "m.weight", dtype, shape: [1, 4] }) ?? ""),
  );
  const isPlain = (shape: number[]) =>
    layout.refusal({ name: "m.weight", dtype: "BF16", shape }) === undefined;
  const isFree = isPlain([1, 4]);
  const anyCols = isFree && isPlain([1, 3]);
  const step = isFree ? 1 : tileOf(layout);
  return fc
    .record({
      dtype: fc.constantFrom(...dtypes),
      rows: fc.integer({ min: isFree ? 0 : 1, max: isFree ? 9 : 2 }),
      cols: fc.integer({ min: isFree ? 0 : 1, max: isFree ? 9 : 2 }),
      seed: fc.nat(),
    })
    .map(({ dtype, rows, cols, seed }) => {
      const width = anyCols ? cols : isFree ? 4 * cols : cols * step;
      const most = layout.holds === "any" ? 4 : 2;
      return sparseMatrix(dtype, rows * step, width, { seed, most });
    });
}

/** A size that is whole tiles both ways, for all dtypes. */
function tileOf(layout: Layout): number {
  const fits = (size: number) =>
    (["F16", "I8"] as const).every(
      (dtype) =>
        !/tiles/.test(layout.refusal({ name: "m.weight", dtype, shape: [size, size] }) ?? ""),
    );
  for (let size = 16; size <= 1024; size *= 2) if (fits(size)) return size;
  throw new Error(`${layout.name} takes no square up to 1024.`);
}

/** A layout as it is written with: with what it must know of a weight's values. */
export function readyFor(layout: Layout, { weight, bytes }: Case): Layout {
  const facts = layout.measure?.(weight, bytes);
  return facts ? layout.withFacts!(new Map([[weight.name, facts]])) : layout;
}

/** The layout as a file's metadata leads back to it. */
export function reopened(layout: Layout, weight: TensorEntry): Layout {
  return layoutOf({ ...layoutMetadata(layout, [weight]), format: "pt" }, "file");
}

/** Every layout that packs plain weights, and the padded form of those that have one. */
export const allLayouts: readonly [title: string, layout: Layout][] = Object.values(layouts)
  .filter(({ holds }) => holds !== "codes")
  .flatMap((layout): [string, Layout][] => [
    [layout.name, layout],
    ...(layout.padded ? [[`${layout.name}+pad`, layout.padded] as [string, Layout]] : []),
  ]);
