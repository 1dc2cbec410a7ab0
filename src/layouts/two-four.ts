/**
 * The layout `two-four`, version 1: a 2:4-sparse weight NAME [rows, cols], cols a multiple of 4, in
 * two tensors that the kernels of every backend read.
 *
 *   NAME.two_four.values   the weight's dtype [rows, cols/2]      the two slots of each group
 *   NAME.two_four.indices  U8 [rows, ceil(cols/8)]                where they stood
 *
 *   columns of a row      0 1 2 3   4 5 6 7   8 9 ...
 *                         group 0   group 1   group 2 ...
 *   values of a row       a0 a1     b0 b1     c0 c1 ...
 *   byte 0 of indices     bits 7-6  5-4  3-2  1-0
 *                              b1   b0   a1   a0      the slot's column within its group
 *
 * The column of a group's first slot is lower than that of its second. A group with fewer than two
 * non-zeros stores zeros at its lowest zero columns. When cols/4 is odd, the high nibble of a row's
 * last byte is 0. Values keep the weight's bits; f16 and bf16 are never converted.
 */
import { PenjingError } from "../errors.js";
import type { Layout, TensorEntry } from "../layout.js";
import {
  checkTwoFourIndices,
  indexBytes,
  notTwoFour,
  packGroups,
  unpackGroups,
  type WeightArray,
} from "../pack.js";

const VALUES = ".two_four.values";
const INDICES = ".two_four.indices";

const ELEMENT_BYTES: Readonly<Record<string, number>> = { F32: 4, F16: 2, BF16: 2 };

function refusal({ dtype, shape }: TensorEntry): string | undefined {
  if (shape.length !== 2) {
    return `it has the shape [${shape}], but a 2:4 weight is a matrix; exclude it.`;
  }
  if (shape[1] % 4 !== 0) {
    return `its ${shape[1]} columns are not a multiple of 4; exclude it or use the dense layout.`;
  }
  if (!Object.hasOwn(ELEMENT_BYTES, dtype)) {
    return `its dtype ${dtype} cannot be stored 2:4, only F32, F16 and BF16; convert or exclude it.`;
  }
  return undefined;
}

function entries({ name, dtype, shape: [rows, cols] }: TensorEntry): [TensorEntry, TensorEntry] {
  return [
    { name: name + VALUES, dtype, shape: [rows, cols / 2] },
    { name: name + INDICES, dtype: "U8", shape: [rows, indexBytes(cols)] },
  ];
}

/**
 * The bits of the elements behind little-endian bytes; copied only when they are not aligned. F32
 * goes as integers too: moving a number may change the bits of a NaN.
 */
function elements(name: string, dtype: string, bytes: Uint8Array, count: number): WeightArray {
  const size = ELEMENT_BYTES[dtype];
  if (bytes.length !== count * size) {
    throw new PenjingError(name, `it has ${bytes.length} bytes, must have ${count * size}.`);
  }
  const { buffer, byteOffset } = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  return size === 4
    ? new Uint32Array(buffer, byteOffset, count)
    : new Uint16Array(buffer, byteOffset, count);
}

function accepted(weight: TensorEntry): readonly [rows: number, cols: number] {
  const reason = refusal(weight);
  if (reason) throw new PenjingError(weight.name, reason);
  return [weight.shape[0], weight.shape[1]];
}

function pack(weight: TensorEntry, bytes: Uint8Array): ReadonlyMap<string, Uint8Array> {
  const [rows, cols] = accepted(weight);
  const w = elements(weight.name, weight.dtype, bytes, rows * cols);
  const values = new Uint8Array(bytes.length / 2);
  const indices = new Uint8Array(rows * indexBytes(cols));
  const slots = elements(weight.name, weight.dtype, values, (rows * cols) / 2);
  const bad = packGroups(w, slots, indices, rows, cols);
  if (bad >= 0) throw notTwoFour(weight.name, bad, cols);
  return new Map([
    [weight.name + VALUES, values],
    [weight.name + INDICES, indices],
  ]);
}

function unpack(weight: TensorEntry, parts: ReadonlyMap<string, Uint8Array>): Uint8Array {
  const [rows, cols] = accepted(weight);
  const [valueName, indexName] = [weight.name + VALUES, weight.name + INDICES];
  const [values, indices] = [parts.get(valueName), parts.get(indexName)];
  if (!values || !indices) {
    throw new PenjingError(weight.name, `${valueName} and ${indexName} are both needed.`);
  }
  const slots = elements(valueName, weight.dtype, values, (rows * cols) / 2);
  checkTwoFourIndices(indexName, indices, rows, cols);
  const bytes = new Uint8Array(rows * cols * ELEMENT_BYTES[weight.dtype]);
  unpackGroups(slots, indices, elements(weight.name, weight.dtype, bytes, rows * cols), rows, cols);
  return bytes;
}

function weights(stored: readonly TensorEntry[]): readonly TensorEntry[] {
  const byName = new Map(stored.map((entry) => [entry.name, entry]));
  const found: TensorEntry[] = [];
  for (const { name, dtype, shape } of stored) {
    if (name.endsWith(INDICES) && !byName.has(name.slice(0, -INDICES.length) + VALUES)) {
      throw new PenjingError(name, "the values it belongs to are missing; the file is damaged.");
    }
    if (!name.endsWith(VALUES)) continue;
    const weight = {
      name: name.slice(0, -VALUES.length),
      dtype,
      shape: [shape[0], 2 * shape[1]],
    };
    const indexName = weight.name + INDICES;
    const indices = byName.get(indexName);
    if (shape.length !== 2 || refusal(weight)) {
      throw new PenjingError(
        name,
        `${dtype} [${shape}] cannot be the values of a 2:4 weight; the file is damaged.`,
      );
    }
    const wanted = entries(weight)[1];
    if (indices?.dtype !== wanted.dtype || String(indices.shape) !== String(wanted.shape)) {
      const have = indices ? `${indices.dtype} [${indices.shape}]` : "missing";
      throw new PenjingError(
        indexName,
        `it is ${have}, must be ${wanted.dtype} [${wanted.shape}] beside ${name}; the file is damaged.`,
      );
    }
    if (byName.has(weight.name)) {
      throw new PenjingError(weight.name, "it is stored both dense and 2:4; the file is damaged.");
    }
    found.push(weight);
  }
  return found;
}

export const twoFour: Layout = {
  name: "two-four",
  version: 1,
  refusal,
  entries,
  pack,
  weights,
  unpack,
};
