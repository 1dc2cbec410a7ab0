import { PenjingError } from "../../errors.js";
import type { ByteSource } from "../../platform/files.js";
import { quote } from "../../quote.js";
import { pause } from "../../run.js";
import { lookalike } from "../foreign.js";
import { MAX_TENSORS, nameProblem } from "../safetensors.js";
import { Cursor, MoreBytes, type Value } from "./cursor.js";
import { type TensorType, typeOf } from "./types.js";

/** The only version that is written since November 2023. */
const VERSION = 3;
/** Bytes of a header that are read first; then four times as many as before. */
const FIRST_BYTES = 2 ** 18;
/** Longest header accepted, in bytes; the largest vocabularies take 20 MB. */
export const MAX_HEADER_BYTES = 2 ** 28;
/** Most keys accepted; published files have about 50. */
export const MAX_KEYS = 2 ** 16;
/** Longest key accepted, in bytes, as the format says. */
const MAX_KEY_BYTES = 2 ** 16 - 1;
const MAX_NAME_BYTES = 2 ** 14;
/** ggml has no more dimensions. */
const MAX_DIMENSIONS = 4;
/** ggml's padding of tensors where no key says another. */
const ALIGNMENT = 32;
const MAX_ALIGNMENT = 2 ** 16;

/** A tensor as the file has it. */
export interface GgufTensor {
  readonly name: string;
  readonly type: TensorType;
  /** Rows first, as elsewhere here; the file has the innermost first. */
  readonly shape: readonly number[];
  /** The product of `shape`. */
  readonly count: number;
  /** Where its bytes lie in the file. */
  readonly offset: number;
  readonly byteLength: number;
}

/** The checked beginning of a GGUF file. */
export interface GgufHeader {
  readonly keys: ReadonlyMap<string, Value>;
  /** In the order of their bytes. */
  readonly tensors: readonly GgufTensor[];
}

/**
 * Reads the header of a GGUF file, version 3, and checks it before anything is believed: every length
 * and count fits the file, names are told apart, and tensors lie one after another, as ggml demands.
 *
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 *
 * @throws PenjingError for what is damaged, of another version or byte order, or of a type not read
 */
export async function readGgufHeader(
  source: ByteSource,
  signal?: AbortSignal,
): Promise<GgufHeader> {
  let length = Math.min(source.size, FIRST_BYTES);
  for (;;) {
    await pause(signal);
    const bytes = await source.read(0, length);
    try {
      return parseHeader(new Cursor(source.name, bytes, source.size), bytes, source.size);
    } catch (error) {
      if (!(error instanceof MoreBytes)) throw error;
      if (error.end > MAX_HEADER_BYTES) {
        throw new PenjingError(
          source.name,
          `its header goes on after ${MAX_HEADER_BYTES} bytes, which is more than is accepted; it is damaged: fetch it again.`,
        );
      }
      length = Math.min(source.size, MAX_HEADER_BYTES, Math.max(4 * length, error.end));
    }
  }
}

function parseHeader(cursor: Cursor, bytes: Uint8Array, size: number): GgufHeader {
  const fail = (message: string): never => {
    throw new PenjingError(cursor.name, message);
  };
  const start = String.fromCharCode(...bytes.subarray(0, 40));
  if (!start.startsWith("GGUF")) {
    fail(
      lookalike(start) ?? 'it does not begin with "GGUF", so it is no GGUF file; fetch it again.',
    );
  }
  cursor.at = 4;
  const version = cursor.u32("its version");
  if (version > 0 && version % 2 ** 16 === 0) {
    fail(
      "it is a GGUF file for big-endian machines; take the usual one, or write it again on a little-endian machine (gguf_convert_endian.py of llama.cpp turns it round).",
    );
  }
  if (version !== VERSION) {
    const age = version < VERSION ? "an old" : "a newer";
    fail(
      `it is of version ${version} of GGUF, ${age} one; version ${VERSION} is read: ${
        version < VERSION
          ? "write it again with a current llama.cpp (llama-quantize OLD NEW COPY), or take a newer file."
          : "take a file of that version."
      }`,
    );
  }
  const tensorCount = cursor.count("the number of its tensors", MAX_TENSORS);
  const keyCount = cursor.count("the number of its keys", MAX_KEYS);
  const keys = new Map<string, Value>();
  for (let i = 0; i < keyCount; i++) {
    const key = cursor.text("a key", MAX_KEY_BYTES);
    const value = cursor.value(`the value of ${quote(key)}`);
    if (keys.has(key)) fail(`the key ${quote(key)} appears twice; the file is damaged.`);
    keys.set(key, value);
  }
  const alignment = keys.get("general.alignment") ?? ALIGNMENT;
  if (
    typeof alignment !== "number" ||
    alignment < 1 ||
    alignment > MAX_ALIGNMENT ||
    !Number.isInteger(Math.log2(alignment))
  ) {
    return fail(
      `general.alignment is not a power of two from 1 to ${MAX_ALIGNMENT}; the file is damaged.`,
    );
  }
  const tensors: GgufTensor[] = [];
  const names = new Set<string>();
  let end = 0;
  for (let i = 0; i < tensorCount; i++) {
    const tensor = readTensor(cursor, end);
    if (names.has(tensor.name)) {
      fail(`it has two tensors of the name ${quote(tensor.name)}; the file is damaged.`);
    }
    names.add(tensor.name);
    tensors.push(tensor);
    end = padded(tensor.offset + tensor.byteLength, alignment);
  }
  const dataStart = padded(cursor.at, alignment);
  const placed = tensors.map((one) => ({ ...one, offset: dataStart + one.offset }));
  const cut = placed.find(({ offset, byteLength }) => offset + byteLength > size);
  if (cut) {
    throw new PenjingError(
      `${cursor.name}: ${quote(cut.name)}`,
      `its bytes end at byte ${cut.offset + cut.byteLength}, but the file has ${size}; it is cut short: fetch it again.`,
    );
  }
  return { keys, tensors: placed };
}

function padded(length: number, alignment: number): number {
  return Math.ceil(length / alignment) * alignment;
}

/** @param expected where its bytes begin among those of all tensors: behind the one before, padded */
function readTensor(cursor: Cursor, expected: number): GgufTensor {
  const name = cursor.text("a tensor's name", MAX_NAME_BYTES);
  const where = `${cursor.name}: ${quote(name)}`;
  const fail = (message: string): never => {
    throw new PenjingError(where, `${message}; the file is damaged.`);
  };
  const problem = nameProblem(name);
  if (problem) fail(`its name ${problem}`);
  const dimensions = cursor.u32(`the dimensions of ${quote(name)}`);
  if (dimensions > MAX_DIMENSIONS) {
    fail(`it has ${dimensions} dimensions, more than the ${MAX_DIMENSIONS} of ggml`);
  }
  let count = 1;
  const sizes: number[] = [];
  for (let i = 0; i < dimensions; i++) {
    const size = cursor.count(`a dimension of ${quote(name)}`, Number.MAX_SAFE_INTEGER);
    count *= size;
    if (count > Number.MAX_SAFE_INTEGER) fail("the product of its dimensions overflows 2^53");
    sizes.push(size);
  }
  const type = typeOf(cursor.u32(`the type of ${quote(name)}`), where);
  const offset = cursor.count(`the offset of ${quote(name)}`, Number.MAX_SAFE_INTEGER);
  const [row = 1] = sizes;
  if (row % type.weights !== 0) {
    fail(
      `its rows have ${row} elements, which are no whole blocks of ${type.weights}, as ${type.name} has them`,
    );
  }
  const byteLength = (count / type.weights) * type.bytes;
  if (!Number.isSafeInteger(expected + byteLength)) fail("its bytes are more than 2^53");
  if (offset !== expected) {
    fail(
      `its bytes begin at ${offset} and not at ${expected}, where those of the tensor before it end`,
    );
  }
  return { name, type, shape: sizes.reverse(), count, offset, byteLength };
}
