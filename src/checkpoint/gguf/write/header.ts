/** The beginning of a GGUF file: its keys, and where its tensors lie. */
import { PenjingError } from "../../../errors.js";
import type { ByteSource } from "../../../platform/files.js";
import { quote } from "../../../quote.js";
import { sizeOf } from "../../../tensor.js";
import { type GgufHeader, readGgufHeader } from "../header.js";
import { typeNamed } from "../types.js";
import { Bytes, type KeyValues } from "./values.js";

const VERSION = 3;
/** Bytes of which each tensor begins at a multiple, where no key says another number. */
const ALIGNMENT = 32;
/** Longest name of a tensor, in bytes: ggml keeps it in 64 with a zero behind it. */
export const MAX_NAME_BYTES = 63;

/** A tensor that a file is to hold. */
export interface GgufEntry {
  readonly name: string;
  /** ggml's name of its type, as in "Q8_0". */
  readonly type: string;
  /** Rows first. */
  readonly shape: readonly number[];
}

/** Bytes of a tensor. */
export function entryBytes({ type, shape }: GgufEntry): number {
  const { weights, bytes } = typeNamed(type);
  return (sizeOf(shape) / weights) * bytes;
}

function padded(length: number): number {
  return Math.ceil(length / ALIGNMENT) * ALIGNMENT;
}

/** Where a tensor's bytes lie in its file. */
export interface Slot {
  readonly offset: number;
  readonly byteLength: number;
  /** Zeros that stand behind it. */
  readonly padding: number;
}

/** A file's beginning and the places of what comes after it. */
export interface MadeHeader {
  readonly bytes: Uint8Array;
  readonly slots: ReadonlyMap<string, Slot>;
  /** Bytes of the whole file. */
  readonly size: number;
}

/**
 * Lays out a file of version 3: tensors in the order given, each at a multiple of 32 bytes.
 *
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 *
 * @param where the file, for messages
 * @throws PenjingError for a tensor whose name is longer than 63 bytes
 */
export function makeHeader(
  where: string,
  keys: KeyValues,
  entries: readonly GgufEntry[],
): MadeHeader {
  const file = new Bytes();
  file.add(new TextEncoder().encode("GGUF"));
  file.u32(VERSION);
  file.u64(entries.length);
  file.u64(Object.keys(keys).length);
  for (const [key, value] of Object.entries(keys)) {
    file.text(key);
    file.value(value);
  }
  const offsets: number[] = [];
  let end = 0;
  for (const entry of entries) {
    const { name, type, shape } = entry;
    const length = new TextEncoder().encode(name).length;
    if (length > MAX_NAME_BYTES) {
      throw new PenjingError(
        where,
        `the tensor ${quote(name)} has a name of ${length} bytes, and a GGUF file takes ${MAX_NAME_BYTES}; choose another layout.`,
      );
    }
    file.text(name);
    file.u32(shape.length);
    for (const size of [...shape].reverse()) file.u64(size);
    file.u32(typeNamed(type).id);
    file.u64(end);
    offsets.push(end);
    end = padded(end + entryBytes(entry));
  }
  file.pad(ALIGNMENT);
  const start = file.length;
  const slots = new Map(
    entries.map((entry, i) => {
      const byteLength = entryBytes(entry);
      const padding = padded(byteLength) - byteLength;
      return [entry.name, { offset: start + offsets[i], byteLength, padding }];
    }),
  );
  return { bytes: file.whole(), slots, size: start + end };
}

/** A header as the reader of GGUF files finds it. */
export function readBack(name: string, { bytes, size }: MadeHeader): Promise<GgufHeader> {
  const source: ByteSource = {
    ...{ name, size },
    async read(offset, length) {
      const piece = new Uint8Array(length);
      piece.set(bytes.subarray(offset, offset + length));
      return piece;
    },
    async close() {},
  };
  return readGgufHeader(source);
}
