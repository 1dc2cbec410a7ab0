/**
 * How the parts of a leaf of codes are stored, of a dense one and of a 2:4 one: the layout grouped-int, which is `pack-quantized`
 * of compressed-tensors for the matrices that it knows. For a weight NAME [R, C] of b bits and K groups:
 *
 *   NAME_packed      I32 [R, ceil(C b / 32)]: a row's codes one after another as a string of bits, the
 *                    lowest bit of a code first; bit i of the string is bit i mod 32 of word i / 32
 *   NAME_scale       F16 or BF16 [R, K]
 *   NAME_zero_point  I32 [ceil(R b / 32), K], of grids that are not symmetric: for each group the zero
 *                    points of all rows as such a string, its words one below another
 *                    or F16 [R, K], of affine ones
 *   NAME_table       F16 [2^b], the levels of a table
 *   NAME_codebook    F16 [2^b, 2], the entries of a code book, whose codes stand for two columns each: then
 *                    NAME_packed is I32 [R, ceil(C / 2 b / 32)]
 *   NAME_shape       I64 [2]: R and C
 *
 * Of a 2:4 leaf, in the layout two-four-int, NAME_packed is I32 [R, ceil(C / 2 b / 32)] of the kept codes, the two
 * of each group of four columns one after another, and where they stood is in
 *
 *   NAME.two_four.indices  U8 [R, ceil(C / 8)], as in layouts/two-four.ts
 *
 * Bits after the last code are 0. There a code is q + 2^(b - 1) of a signed q, as here.
 */
import { type Form, type Leaf, leavesOf, type MatrixShape, type Numbers } from "../form.js";
import type { StoredDType } from "../tensor.js";
import { partRules } from "./leaf.js";
import type { PartRule } from "./rules.js";

/** The part that only files have: rows and columns. */
export const SHAPE_PART = "shape";

/** The part of a 2:4 leaf that is not packed as codes are. */
const INDICES = "indices";

/** What the name of a part's tensor ends in, after that of the weight. */
export const ENDINGS: Readonly<Record<string, string>> = {
  values: "_packed",
  [INDICES]: ".two_four.indices",
  scales: "_scale",
  zeros: "_zero_point",
  table: "_table",
  codebook: "_codebook",
  [SHAPE_PART]: "_shape",
};

/** A tensor that a part is stored as. */
export interface StoredPart {
  readonly name: string;
  readonly dtypes: readonly StoredDType[];
  readonly shape: readonly number[];
}

/** Whether a leaf holds two of every four columns. */
export function keepsTwoOfFour({ structure }: Pick<Leaf<unknown>, "structure">): boolean {
  return structure.kind === "n:m" && structure.n === 2 && structure.m === 4;
}

/** Whether a leaf is stored as above. */
export function isPackedGrid(leaf: Leaf<unknown>): boolean {
  const { structure, numbers } = leaf;
  if (structure.kind === "dense") return numbers.kind === "grid" || isNewer(numbers);
  return numbers.kind === "grid" && keepsTwoOfFour(leaf);
}

/** Whether a leaf is stored as above with all of its codes, so that a row of it can be read. */
export function isDenseGrid(leaf: Leaf<unknown>): boolean {
  return isPackedGrid(leaf) && leaf.structure.kind === "dense";
}

/** Whether a part of a leaf that is stored as above is codes, which are packed. */
export function isCodes({ name, dtype }: Pick<PartRule, "name" | "dtype">): boolean {
  return dtype === "u8" && name !== INDICES;
}

/** Whether numbers are such that version 1 of the layout does not have. */
function isNewer({ kind }: Numbers): boolean {
  return kind === "table" || kind === "pairs" || kind === "affine";
}

/** The version of the layout grouped-int that forms need. */
export function packedVersion(forms: Iterable<Form<unknown>>): number {
  const hasNewer = (form: Form<unknown>) => leavesOf(form).some(({ numbers }) => isNewer(numbers));
  return [...forms].some(hasNewer) ? 2 : 1;
}

/** The newest version. */
export const NEWEST_PACKED = 2;

function bitsOf({ numbers }: Leaf<unknown>): number {
  return "bits" in numbers ? numbers.bits : 8;
}

/** Words that as many codes take. */
function wordsOf(codes: number, bits: number): number {
  return Math.ceil((codes * bits) / 32);
}

/** The parts of a leaf for which `isPackedGrid` holds, as they are stored. */
export function packedParts(leaf: Leaf<unknown>): StoredPart[] {
  const bits = bitsOf(leaf);
  const parts = partRules(leaf).map((rule): StoredPart => {
    const { name, shape: whole } = rule;
    const [rows, cols] = whole;
    if (name === INDICES) return { name, dtypes: ["U8"], shape: whole };
    if (name === "scales") return { name, dtypes: ["F16", "BF16", "F32"], shape: whole };
    if (!isCodes(rule)) return { name, dtypes: ["F16", "F32"], shape: whole };
    const shape = name === "zeros" ? [wordsOf(rows, bits), cols] : [rows, wordsOf(cols, bits)];
    return { name, dtypes: ["I32"], shape };
  });
  return [...parts, { name: SHAPE_PART, dtypes: ["I64"], shape: [2] }];
}

/** How codes of a matrix [rows, cols] lie in strings of bits: which are one string, where its words go. */
interface Strings {
  readonly count: number;
  readonly length: number;
  /** Places of a string's first code and first word, and from each to the next. */
  readonly codes: { readonly first: (string: number) => number; readonly step: number };
  readonly words: { readonly first: (string: number) => number; readonly step: number };
}

function stringsOf({ name, shape: [rows, cols] }: PartRule, bits: number): Strings {
  if (name === "zeros") {
    const first = (string: number) => string;
    const [codes, words] = [0, 0].map(() => ({ first, step: cols }));
    return { count: cols, length: rows, codes, words };
  }
  const width = wordsOf(cols, bits);
  return {
    count: rows,
    length: cols,
    codes: { first: (string) => string * cols, step: 1 },
    words: { first: (string) => string * width, step: 1 },
  };
}

/**
 * The bytes of codes or zero points as they are stored.
 *
 * @param rule the part
 * @param codes u8, as in the leaf
 * @throws RangeError for a code that does not fit the bits: it would change its neighbours
 */
export function packCodes(leaf: Leaf<unknown>, rule: PartRule, codes: Uint8Array): Uint8Array {
  const bits = bitsOf(leaf);
  const bad = codes.find((code) => code >= 2 ** bits);
  if (bad !== undefined) throw new RangeError(`the code ${bad} does not fit ${bits} bits`);
  const { count, length, ...place } = stringsOf(rule, bits);
  const words = new Uint32Array(count * wordsOf(length, bits));
  for (let string = 0; string < count; string++) {
    let at = place.codes.first(string);
    let word = place.words.first(string);
    let shift = 0;
    for (let i = 0; i < length; i++, at += place.codes.step) {
      words[word] |= codes[at] << shift;
      shift += bits;
      if (shift < 32) continue;
      shift -= 32;
      word += place.words.step;
      // What went over the end of the word begins the next one.
      if (shift > 0) words[word] = codes[at] >>> (bits - shift);
    }
  }
  return new Uint8Array(words.buffer);
}

/**
 * The inverse of `packCodes`.
 *
 * @param bytes of I32 words, little-endian
 * @returns undefined when bits after the last code are set
 */
export function unpackCodes(
  leaf: Leaf<unknown>,
  rule: PartRule,
  bytes: Uint8Array,
): Uint8Array | undefined {
  const bits = bitsOf(leaf);
  const { count, length, ...place } = stringsOf(rule, bits);
  const view = new Uint32Array(bytes.slice().buffer);
  const codes = new Uint8Array(count * length);
  const most = 2 ** bits - 1;
  const width = wordsOf(length, bits);
  const unused = width * 32 - length * bits;
  for (let string = 0; string < count; string++) {
    const first = place.words.first(string);
    const last = view[first + (width - 1) * place.words.step];
    if (unused > 0 && last >>> (32 - unused) !== 0) return undefined;
    let at = place.codes.first(string);
    for (let i = 0; i < length; i++, at += place.codes.step) {
      const bit = i * bits;
      const word = first + Math.floor(bit / 32) * place.words.step;
      const shift = bit % 32;
      const low = view[word] >>> shift;
      const isSplit = shift + bits > 32;
      const high = isSplit ? view[word + place.words.step] << (32 - shift) : 0;
      codes[at] = (low | high) & most;
    }
  }
  return codes;
}

/** The bytes of the part that tells the shape. */
export function shapeBytes([rows, cols]: MatrixShape): Uint8Array {
  return new Uint8Array(BigInt64Array.of(BigInt(rows), BigInt(cols)).buffer);
}

/** The codes of a part as a file has them: a byte each, or packed. */
export function readCodes(
  leaf: Leaf<unknown>,
  rule: PartRule,
  dtype: StoredDType,
  bytes: Uint8Array,
): Uint8Array | undefined {
  return dtype === "I32" ? unpackCodes(leaf, rule, bytes) : bytes;
}
