/** The elements of a weight that is packed, as raw bits, and which weights can be packed at all. */
import { PenjingError } from "../../errors.js";
import type { TensorEntry } from "../../layout.js";
import type { WeightArray } from "../../pack.js";
import { sizeOf } from "../../tensor.js";

/** Bytes of an element, of the dtypes that weights and their parts have. */
const ELEMENT_BYTES: Readonly<Record<string, number>> = {
  I64: 8,
  F32: 4,
  I32: 4,
  F16: 2,
  BF16: 2,
  I16: 2,
  I8: 1,
  U8: 1,
};

export function elementBytes({ dtype }: Pick<TensorEntry, "dtype">): number {
  return ELEMENT_BYTES[dtype];
}

/**
 * The bits of the elements behind little-endian bytes; copied only when they are not aligned. F32
 * goes as integers too: moving a number may change the bits of a NaN.
 *
 * @throws PenjingError when their number is not that of the entry's shape
 */
export function bitsOf(entry: TensorEntry, bytes: Uint8Array): WeightArray {
  const size = elementBytes(entry);
  const count = sizeOf(entry.shape);
  checkBytes(entry, bytes);
  const { buffer, byteOffset } = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  if (size === 1) return new Uint8Array(buffer, byteOffset, count);
  return size === 2
    ? new Uint16Array(buffer, byteOffset, count)
    : new Uint32Array(buffer, byteOffset, count);
}

function checkBytes(entry: TensorEntry, bytes: Uint8Array): void {
  const expected = sizeOf(entry.shape) * elementBytes(entry);
  if (bytes.length === expected) return;
  throw new PenjingError(entry.name, `it has ${bytes.length} bytes, must have ${expected}.`);
}

/** Why a tensor is no matrix of one of these dtypes; undefined when it is. */
export function matrixRefusal(
  { dtype, shape }: TensorEntry,
  dtypes: readonly string[],
  how: string,
): string | undefined {
  if (shape.length !== 2) {
    return `it has the shape [${shape}], but only a matrix can be stored ${how}; exclude it.`;
  }
  if (dtypes.includes(dtype)) return undefined;
  const rest = dtypes.slice(0, -1).join(", ");
  return `its dtype ${dtype} cannot be stored ${how}, only ${rest} and ${dtypes.at(-1)}; convert or exclude it.`;
}

/** Why the groups of 4 of a matrix do not fill its rows; undefined when they do. */
export function groupRefusal({ shape }: TensorEntry): string | undefined {
  if (shape[1] % 4 === 0) return undefined;
  return `its ${shape[1]} columns are not a multiple of 4; exclude it or use the dense layout.`;
}

/**
 * The bytes of all parts of a weight, in the order of its entries.
 *
 * @throws PenjingError when one is missing or has not the length that its entry says
 */
export function partBytes(
  weight: TensorEntry,
  entries: readonly TensorEntry[],
  parts: ReadonlyMap<string, Uint8Array>,
): Uint8Array[] {
  const found = entries.map(({ name }) => parts.get(name));
  if (found.includes(undefined)) {
    const names = entries.map(({ name }) => name).join(" and ");
    const needed = ["is needed", "are both needed"][entries.length - 1] ?? "are all needed";
    throw new PenjingError(weight.name, `${names} ${needed}; read them first.`);
  }
  entries.forEach((entry, i) => {
    checkBytes(entry, found[i]!);
  });
  return found as Uint8Array[];
}
