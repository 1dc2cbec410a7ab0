/** What llama.cpp's converter changes in tensors, undone as they are read. */
import { PenjingError } from "../../errors.js";
import { quote } from "../../quote.js";
import { DTYPE_BYTES, toFloat32 } from "../dtype.js";
import type { Placed } from "./files.js";

/** Elements that are put in order together: a head, or a whole tensor. */
const MAX_UNIT = 2 ** 28;

/** A change, as the file has it. */
export type Change =
  /** Row 2i + half of each of so many heads is row i of that half: rotary pairs lie side by side. */
  | { readonly kind: "pairs"; readonly heads: number }
  /** All queries, then all keys, then all values, where they are wanted one head after the other. */
  | { readonly kind: "blocks"; readonly heads: number }
  /** Matrices are [outFeatures, inFeatures], where they are wanted the other way round. */
  | { readonly kind: "transposed" }
  /** Values are larger by 1 than they are wanted. */
  | { readonly kind: "plusOne" };

/** How a tensor is given as it was before a change. */
export interface Undoing {
  /** Elements that are read together. */
  readonly unit: number;
  /** @default that of the file */
  readonly shape?: readonly number[] | undefined;
  /** @default that of the file's type */
  readonly dtype?: "F32" | undefined;
  /** @param bytes decoded, of whole units */
  undo(bytes: Uint8Array): Uint8Array;
}

/**
 * How a change to a tensor is undone.
 *
 * @param file for messages
 * @returns undefined where there is nothing to do
 * @throws PenjingError when the tensor is not as the change would have left it
 */
export function undoing(placed: Placed, change: Change, file: string): Undoing | undefined {
  const { name, shape, type, count } = placed;
  if (count === 0) return undefined;
  const [rows = 1, cols = 1] = shape;
  const rowBytes = (count / rows) * DTYPE_BYTES[type.dtype];
  const check = (isRight: boolean, unit: number, rule: string) => {
    if (isRight && unit % type.weights === 0 && unit <= MAX_UNIT) return;
    throw new PenjingError(
      `${file}: ${quote(name)}`,
      `its ${rows} rows are not ${rule}, as the file's keys say; the file is damaged.`,
    );
  };
  switch (change.kind) {
    case "pairs": {
      const { heads } = change;
      const unit = count / heads;
      const half = rows / heads / 2;
      check(Number.isInteger(half), unit, `those of ${heads} heads of an even number of rows each`);
      const from = (row: number) => (row % half) * 2 + Math.floor(row / half);
      return { unit, undo: (bytes) => reordered(bytes, 2 * half, rowBytes, from) };
    }
    case "blocks": {
      const { heads } = change;
      const width = rows / heads / 3;
      check(Number.isInteger(width), count, `queries, keys and values of ${heads} heads`);
      const from = (row: number) => {
        const part = Math.floor(row / width);
        return ((part % 3) * heads + Math.floor(part / 3)) * width + (row % width);
      };
      return { unit: count, undo: (bytes) => reordered(bytes, rows, rowBytes, from) };
    }
    case "transposed":
      if (shape.length !== 2) return undefined;
      check(true, count, "of a matrix that can be read whole");
      return {
        ...{ unit: count, shape: [cols, rows] },
        undo: (bytes) => transposed(bytes, rows, cols),
      };
    case "plusOne":
      return {
        ...{ unit: type.weights, dtype: "F32" },
        undo(bytes) {
          const values = toFloat32({ name, dtype: type.dtype }, bytes);
          return new Uint8Array(values.map((value) => value - 1).buffer);
        },
      };
  }
}

/** How finished rows of a tensor are put in the order that a change leaves them in. */
export interface Doing {
  /** Rows that are put in order together. */
  readonly unit: number;
  /** @param bytes rows in their final type, whole units of them */
  apply(bytes: Uint8Array): Uint8Array;
}

/**
 * How a change to the order of rows is made, whatever type the rows have: `undoing` backwards.
 *
 * @param rows of the whole tensor
 * @param rowBytes bytes of a row as it is written
 * @returns undefined for a change to the values, or to what is read in the right order anyway
 */
export function doing(change: Change, rows: number, rowBytes: number): Doing | undefined {
  switch (change.kind) {
    case "pairs": {
      const unit = rows / change.heads;
      const from = (row: number) => (row % 2) * (unit / 2) + (row >> 1);
      return { unit, apply: (bytes) => reordered(bytes, unit, rowBytes, from) };
    }
    case "blocks": {
      const { heads } = change;
      const width = rows / heads / 3;
      const from = (row: number) => {
        const part = Math.floor(row / width);
        return ((part % heads) * 3 + Math.floor(part / heads)) * width + (row % width);
      };
      return { unit: rows, apply: (bytes) => reordered(bytes, rows, rowBytes, from) };
    }
    default:
      return undefined;
  }
}

/**
 * Rows in another order.
 *
 * @param bytes one unit after another
 * @param rows of a unit
 * @param from where a row is found in its unit
 */
function reordered(
  bytes: Uint8Array,
  rows: number,
  rowBytes: number,
  from: (row: number) => number,
): Uint8Array {
  const ordered = new Uint8Array(bytes.length);
  for (let unit = 0; unit < bytes.length; unit += rows * rowBytes) {
    for (let row = 0; row < rows; row++) {
      const start = unit + from(row) * rowBytes;
      ordered.set(bytes.subarray(start, start + rowBytes), unit + row * rowBytes);
    }
  }
  return ordered;
}

/** A matrix the other way round. */
function transposed(bytes: Uint8Array, rows: number, cols: number): Uint8Array {
  const width = bytes.length / rows / cols;
  const made = new Uint8Array(bytes.length);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      const from = (row * cols + col) * width;
      const to = (col * rows + row) * width;
      for (let i = 0; i < width; i++) made[to + i] = bytes[from + i];
    }
  }
  return made;
}
