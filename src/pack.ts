import { ARRAY, checkArguments, NUMBER, required } from "./arguments.js";
import { PenjingError } from "./errors.js";

/**
 * The 2:4 group code, which everything that reads or writes packed weights shares. Of 4 consecutive
 * columns two slots i0 < i1 are stored; the code is i0 | i1 << 2, and a byte holds two codes, the
 * lower-numbered group in its low nibble. Byte by byte: layouts/two-four.ts.
 */

/** Weights as numbers, or as raw bits: of int8 in 8, of f16 or bf16 in 16, of f32 in 32. */
export type WeightArray = Float32Array | Uint8Array | Uint16Array | Uint32Array;

/** A 2:4-sparse matrix in packed form. */
export interface PackedTwoFour<Values extends WeightArray = Float32Array> {
  /** [rows, cols/2], row-major: the two stored slots of each group, in column order. */
  readonly values: Values;
  /** `[rows, ceil(cols/8)]`: two group codes a byte. */
  readonly indices: Uint8Array;
  readonly rows: number;
  readonly cols: number;
}

const SIZES = { rows: required(NUMBER), cols: required(NUMBER) };
const MATRIX = { weight: required(ARRAY), ...SIZES };
const PACKED = { values: required(ARRAY), indices: required(ARRAY), ...SIZES };

/** Bytes that the group codes of one row take. */
export function indexBytes(cols: number): number {
  return Math.ceil(cols / 8);
}

/** The code of a group by the bit set of its non-zeros; undefined when it has more than two. */
export type GroupCodes = readonly (number | undefined)[];

/** Groups with fewer than two non-zeros store zeros at their lowest zero columns. */
export const LOWEST_ZEROS: GroupCodes = Array.from({ length: 16 }, (_, set) => {
  const columns = [0, 1, 2, 3];
  const kept = columns.filter((column) => set & (1 << column));
  if (kept.length > 2) return undefined;
  const free = columns.filter((column) => !kept.includes(column));
  const [i0, i1] = [...kept, ...free.slice(0, 2 - kept.length)].sort((a, b) => a - b);
  return i0 | (i1 << 2);
});

/** No code: that of a group with more than two non-zeros. */
const MISFIT = 255;

/** The bits that are set in no zero: raw bits of a float are zero whatever their sign bit. */
function magnitudeBits(bits: Exclude<WeightArray, Float32Array>): number {
  if (bits instanceof Uint8Array) return 0xff;
  return bits instanceof Uint16Array ? 0x7fff : 0x7fffffff;
}

/** Tells whether element i is zero. */
export function zeroTest(w: WeightArray): (i: number) => boolean {
  if (w instanceof Float32Array) return (i) => w[i] === 0;
  const size = magnitudeBits(w);
  return (i) => (w[i] & size) === 0;
}

/**
 * Packs w [rows, cols] into `values` and `indices`, sized as in `PackedTwoFour`.
 *
 * @param codes where a group with fewer than two non-zeros stores zeros. @default LOWEST_ZEROS
 * @returns the flat index of the first group (cols/4 a row) with more than two non-zeros, or -1
 */
export function packGroups(
  w: WeightArray,
  values: WeightArray,
  indices: Uint8Array,
  rows: number,
  cols: number,
  codes: GroupCodes = LOWEST_ZEROS,
): number {
  const groups = cols / 4;
  const width = indexBytes(cols);
  const bits = w instanceof Float32Array ? new Uint32Array(w.buffer, w.byteOffset, w.length) : w;
  const size = magnitudeBits(bits);
  const code = Uint8Array.from(codes, (one) => one ?? MISFIT);
  indices.fill(0);
  let [at, slot] = [0, 0];
  for (let row = 0; row < rows; row++) {
    for (let group = 0; group < groups; group++, at += 4, slot += 2) {
      let set = (bits[at] & size) === 0 ? 0 : 1;
      if ((bits[at + 1] & size) !== 0) set |= 2;
      if ((bits[at + 2] & size) !== 0) set |= 4;
      if ((bits[at + 3] & size) !== 0) set |= 8;
      const found = code[set];
      if (found === MISFIT) return row * groups + group;
      values[slot] = w[at + (found & 3)];
      values[slot + 1] = w[at + (found >> 2)];
      indices[row * width + (group >> 1)] |= found << ((group & 1) * 4);
    }
  }
  return -1;
}

/**
 * @param w [rows, cols]; the last group of a row may be cut short
 * @returns the flat index of the first group (ceil(cols/4) a row) with more than two non-zeros, or -1
 */
export function firstMisfit(w: WeightArray, cols: number): number {
  const isZero = zeroTest(w);
  let group = 0;
  for (let start = 0; start < w.length; start += cols) {
    for (let at = start; at < start + cols; at += 4, group++) {
      let count = 0;
      for (let i = at; i < Math.min(at + 4, start + cols); i++) if (!isZero(i)) count++;
      if (count > 2) return group;
    }
  }
  return -1;
}

/** The inverse of `packGroups`: fills w [rows, cols]. */
export function unpackGroups(
  values: WeightArray,
  indices: Uint8Array,
  w: WeightArray,
  rows: number,
  cols: number,
): void {
  const groups = cols / 4;
  const width = indexBytes(cols);
  w.fill(0);
  for (let row = 0; row < rows; row++) {
    for (let group = 0; group < groups; group++) {
      const code = (indices[row * width + (group >> 1)] >> ((group & 1) * 4)) & 15;
      const at = row * cols + group * 4;
      const slot = (row * groups + group) * 2;
      w[at + (code & 3)] = values[slot];
      w[at + (code >> 2)] = values[slot + 1];
    }
  }
}

/**
 * Packs a 2:4-sparse matrix: every 4 consecutive columns of a row hold at most two non-zeros. A
 * group with fewer still stores two slots, the missing ones at its lowest zero columns.
 *
 * @param weight [rows, cols], row-major: numbers, or raw f16 or bf16 bits
 * @param cols a multiple of 4
 * @throws PenjingError when the size does not fit, or naming the first group that is not 2:4
 */
export function packTwoFour(
  weight: Float32Array,
  rows: number,
  cols: number,
): PackedTwoFour<Float32Array>;
export function packTwoFour(
  weight: Uint16Array,
  rows: number,
  cols: number,
): PackedTwoFour<Uint16Array>;
export function packTwoFour(
  weight: WeightArray,
  rows: number,
  cols: number,
): PackedTwoFour<WeightArray> {
  checkArguments("packTwoFour", { weight, rows, cols }, MATRIX);
  checkShape("packTwoFour", rows, cols);
  checkLength("packTwoFour", "weight", weight.length, rows * cols);
  const values = arrayLike(weight, (rows * cols) / 2);
  const indices = new Uint8Array(rows * indexBytes(cols));
  const bad = packGroups(weight, values, indices, rows, cols);
  if (bad >= 0) throw notTwoFour("packTwoFour", bad, cols);
  return { values, indices, rows, cols };
}

/**
 * The dense matrix [rows, cols], row-major, of a packed one; equal to what was packed (a -0 in a
 * pruned place comes back as 0).
 *
 * @throws PenjingError when sizes do not fit, or naming the first group code that is not one
 */
export function unpackTwoFour(packed: PackedTwoFour<Float32Array>): Float32Array;
export function unpackTwoFour(packed: PackedTwoFour<Uint16Array>): Uint16Array;
export function unpackTwoFour(packed: PackedTwoFour<WeightArray>): WeightArray {
  checkArguments("unpackTwoFour", packed, PACKED);
  const { values, indices, rows, cols } = packed;
  checkShape("unpackTwoFour", rows, cols);
  checkLength("unpackTwoFour", "values", values.length, (rows * cols) / 2);
  checkTwoFourIndices("unpackTwoFour", indices, rows, cols);
  const weight = arrayLike(values, rows * cols);
  unpackGroups(values, indices, weight, rows, cols);
  return weight;
}

/**
 * Refuses indices [rows, ceil(cols/8)] that packing could not have made: a wrong length, slots out
 * of order, or a used padding nibble.
 *
 * @throws PenjingError naming row and group
 */
export function checkTwoFourIndices(
  where: string,
  indices: Uint8Array,
  rows: number,
  cols: number,
): void {
  const groups = cols / 4;
  const width = indexBytes(cols);
  checkLength(where, "indices", indices.length, rows * width);
  for (let row = 0; row < rows; row++) {
    for (let group = 0; group < 2 * width; group++) {
      const code = (indices[row * width + (group >> 1)] >> ((group & 1) * 4)) & 15;
      if (group < groups ? (code & 3) < code >> 2 : code === 0) continue;
      throw new PenjingError(
        where,
        `row ${row}, group ${group} has the code ${code}, which is not a 2:4 group code; the file is damaged or not in this layout.`,
      );
    }
  }
}

/** The error for a flat group index that `packGroups` returned. */
export function notTwoFour(where: string, group: number, cols: number): PenjingError {
  const groups = cols / 4;
  const first = (group % groups) * 4;
  return new PenjingError(
    where,
    `row ${Math.floor(group / groups)}, group ${group % groups} (columns ${first} to ${first + 3}) has more than 2 non-zeros; prune it to 2:4 first, or use the dense layout.`,
  );
}

function arrayLike(like: WeightArray, length: number): WeightArray {
  const make = like.constructor as { new (length: number): WeightArray };
  return new make(length);
}

function checkShape(where: string, rows: number, cols: number): void {
  if (Number.isInteger(rows) && Number.isInteger(cols) && rows >= 0 && cols >= 0 && cols % 4 === 0)
    return;
  throw new PenjingError(
    where,
    `rows ${rows} and cols ${cols} must be counts, and cols a multiple of 4; use the dense layout for other widths.`,
  );
}

function checkLength(where: string, name: string, found: number, expected: number): void {
  if (found === expected) return;
  throw new PenjingError(where, `${name} has ${found} elements, must have ${expected}.`);
}
