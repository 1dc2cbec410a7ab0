import * as assert from "uvu/assert";

/** What a strict reader says of a file. It shares no code with the program's readers. */

/** Bytes of an element. */
const DTYPES: Readonly<Record<string, number>> = {
  ...{ F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, I16: 2, I8: 1 },
  ...{ U64: 8, U32: 4, U16: 2, U8: 1, BOOL: 1 },
};

export interface StrictTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** In the file. */
  readonly start: number;
  readonly end: number;
}

export interface StrictFile {
  readonly tensors: ReadonlyMap<string, StrictTensor>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** Says why a file is not one. */
export class Refusal extends Error {}

function check(holds: boolean, why: string): asserts holds {
  if (!holds) throw new Refusal(why);
}

/** A JSON text's value: UTF-8 without a mark before it, and nothing that `JSON.parse` refuses. */
export function strictJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (error) {
    throw new Refusal((error as Error).message);
  }
}

/** The same of a text that a program has read: that it is none is an assertion's failure. */
export function strictly(bytes: Uint8Array): unknown {
  try {
    return strictJson(bytes);
  } catch (error) {
    return assert.unreachable(`it is not JSON: ${error}`);
  }
}

type Mapping = Readonly<Record<string, unknown>>;

function isMapping(value: unknown): value is Mapping {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const isCount = (value: unknown): value is number =>
  typeof value === "number" && Number.isInteger(value) && value >= 0;

function wholeNumbers(value: unknown): readonly number[] {
  check(Array.isArray(value) && value.every(isCount), "no list of whole numbers");
  return value;
}

/** Keys of a value and of all within it. */
function keysIn(value: unknown): number {
  if (typeof value !== "object" || value === null) return 0;
  const own = Array.isArray(value) ? 0 : Object.keys(value).length;
  return Object.values(value).reduce((sum, inner) => sum + keysIn(inner), own);
}

/**
 * Reads a safetensors file by the rules of the format: whole numbers are written as digits alone, texts
 * are of whole characters, tensors lie one after another and fill the file.
 */
export function strictSafetensors(file: Uint8Array): StrictFile {
  check(file.length >= 8, "no header length");
  const length = Number(new DataView(file.buffer, file.byteOffset, 8).getBigUint64(0, true));
  check(length <= 100_000_000 && 8 + length <= file.length, "header length");
  const bytes = file.subarray(8, 8 + length);
  check(bytes[0] === 0x7b, "no {");
  const header = strictJson(bytes);
  check(isMapping(header), "no object");
  const text = new TextDecoder().decode(bytes).replace(/"(?:[^"\\]|\\.)*"/g, '""');
  check(!/\d[.eE]|-/.test(text), "a number that is not digits alone");
  check((text.match(/""\s*:/g) ?? []).length === keysIn(header), "a key twice");
  const names: string[] = [];
  const metadata = new Map<string, string>();
  const tensors = new Map<string, StrictTensor>();
  for (const [name, entry] of Object.entries(header)) {
    names.push(name);
    check(isMapping(entry), "no entry");
    if (name === "__metadata__") {
      for (const [key, value] of Object.entries(entry)) {
        check(typeof value === "string", "metadata");
        names.push(key, value);
        metadata.set(key, value);
      }
      continue;
    }
    const { dtype, shape, data_offsets: offsets } = entry;
    check(typeof dtype === "string" && Object.hasOwn(DTYPES, dtype), "dtype");
    const dimensions = wholeNumbers(shape);
    const [begin, end, ...more] = wholeNumbers(offsets);
    check(end !== undefined && more.length === 0, "offsets");
    const size = dimensions.reduce((product, dimension) => product * BigInt(dimension), 1n);
    check(begin <= end && size * BigInt(DTYPES[dtype]) === BigInt(end - begin), "size");
    const [start, stop] = [begin, end].map((offset) => 8 + length + offset);
    tensors.set(name, { dtype, shape: dimensions, start, end: stop });
  }
  check(!names.some((name) => /\p{Surrogate}/u.test(name)), "half a character");
  let at = 8 + length;
  const inOrder = [...tensors.values()].sort((a, b) => a.start - b.start || a.end - b.end);
  for (const { start, end } of inOrder) {
    check(start === at, "a gap or an overlap");
    at = end;
  }
  check(at === file.length, "bytes behind");
  return { tensors, metadata };
}
