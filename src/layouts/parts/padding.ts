/** Padding for layouts that take only shapes of whole tiles. */
import { PenjingError } from "../../errors.js";
import type { Layout, TensorEntry, WeightFacts } from "../../layout.js";
import { elementBytes } from "./elements.js";

export type Shape = readonly [rows: number, cols: number];

/** The nearest shape of at least one whole tile in which a matrix fits. */
export function wholeTiles(shape: readonly number[], [rows, cols]: Shape): Shape {
  const up = (size: number, tile: number) => Math.max(1, Math.ceil(size / tile)) * tile;
  return [up(shape[0], rows), up(shape[1], cols)];
}

/** Why a shape is not one of whole tiles, and the cures; undefined when it is. */
export function tileRefusal(
  { shape }: TensorEntry,
  tile: Shape,
  layout: string,
): string | undefined {
  const next = wholeTiles(shape, tile);
  if (String(next) === String(shape)) return undefined;
  return `its shape [${shape}] is not whole tiles of ${tile[0]} rows and ${tile[1]} columns; the nearest that is, [${next}], is what the layout ${layout}+pad stores; else exclude it or use the layout two-four.`;
}

/** The rows of `from` in the top left corner of zeros of another shape, or cut to it. */
function resize(bytes: Uint8Array, from: Shape, to: Shape, size: number): Uint8Array {
  const resized = new Uint8Array(to[0] * to[1] * size);
  const width = Math.min(from[1], to[1]) * size;
  for (let row = 0; row < Math.min(from[0], to[0]); row++) {
    const start = row * from[1] * size;
    resized.set(bytes.subarray(start, start + width), row * to[1] * size);
  }
  return resized;
}

function shapeOf({ shape }: TensorEntry): Shape {
  return [shape[0], shape[1]];
}

function isSame(a: readonly number[], b: readonly number[]): boolean {
  return String(a) === String(b);
}

/**
 * Gives a layout its padded form.
 *
 * @param tileOf the tile of a weight's dtype; a weight's rows and columns must be whole tiles
 */
export function withPadding(plain: Layout, tileOf: (weight: TensorEntry) => Shape): Layout {
  const pad = (weight: TensorEntry): TensorEntry =>
    weight.shape.length === 2
      ? { ...weight, shape: wholeTiles(weight.shape, tileOf(weight)) }
      : weight;
  const padded = (facts: ReadonlyMap<string, WeightFacts>): Layout => ({
    ...plain,
    byRows: false,
    withFacts: padded,
    refusal: (weight) => plain.refusal(pad(weight)),
    entries: (weight) => plain.entries(pad(weight)),
    facts: (weight) =>
      isSame(pad(weight).shape, weight.shape) ? undefined : { shape: shapeOf(weight) },
    pack(weight, bytes) {
      const size = elementBytes(weight);
      const expected = weight.shape[0] * weight.shape[1] * size;
      if (bytes.length !== expected) {
        throw new PenjingError(weight.name, `it has ${bytes.length} bytes, must have ${expected}.`);
      }
      const whole = pad(weight);
      return plain.pack(whole, resize(bytes, shapeOf(weight), shapeOf(whole), size));
    },
    weights(stored) {
      const found = plain.weights(stored).map((whole) => {
        const { name, dtype } = whole;
        const weight = { name, dtype, shape: facts.get(name)?.shape ?? whole.shape };
        if (isSame(pad(weight).shape, whole.shape)) return weight;
        throw new PenjingError(
          name,
          `it is stored as [${whole.shape}], which is not how [${weight.shape}] is padded; the file is damaged.`,
        );
      });
      const names = new Set(found.map(({ name }) => name));
      const lost = [...facts.keys()].find((name) => !names.has(name));
      if (lost === undefined) return found;
      throw new PenjingError(
        lost,
        "the file's metadata names it, but it is not stored; the file is damaged.",
      );
    },
    unpack(weight, parts) {
      const whole = pad(weight);
      const size = elementBytes(weight);
      const bytes = plain.unpack(whole, parts);
      const cut = resize(bytes, shapeOf(whole), shapeOf(weight), size);
      const nonZeros = (all: Uint8Array) => all.reduce((sum, byte) => sum + (byte ? 1 : 0), 0);
      if (nonZeros(bytes) === nonZeros(cut)) return cut;
      throw new PenjingError(
        weight.name,
        "there are values in its padding; the file is damaged or not of this weight.",
      );
    },
  });
  return { ...plain, withFacts: padded, padded: padded(new Map()) };
}
