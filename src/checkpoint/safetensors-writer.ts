import { PenjingError } from "../errors.js";
import type { TensorEntry } from "../layout.js";
import type { ByteSink } from "../platform/files.js";
import { fit, quote } from "../quote.js";
import { DTYPE_BYTES, isStoredDType } from "./dtype.js";
import {
  checkTensorRange,
  countElements,
  MAX_HEADER_BYTES,
  METADATA_KEY,
  nameProblem,
} from "./safetensors.js";

/** Bytes of an element; a dtype that is not known here is refused. */
function elementBytes(entry: TensorEntry): number {
  if (!isStoredDType(entry.dtype)) {
    throw new PenjingError(
      entry.name,
      `its dtype is ${quote(entry.dtype)}; dtypes written here are ${Object.keys(DTYPE_BYTES).join(", ")}.`,
    );
  }
  return DTYPE_BYTES[entry.dtype];
}

/** Bytes of a tensor; an entry that no file can hold is refused. */
export function byteLengthOf(entry: TensorEntry): number {
  const count = countElements(entry.shape);
  if (typeof count === "string") throw new PenjingError(entry.name, `${count}.`);
  return count * elementBytes(entry);
}

/** Bytes of tensors together, as they are stored. */
export function bytesOf(entries: Iterable<TensorEntry>): number {
  let bytes = 0;
  for (const entry of entries) bytes += byteLengthOf(entry);
  return bytes;
}

/** Refuses names that a file cannot hold, and a name given twice. */
export function checkNames(where: string, entries: readonly TensorEntry[]): void {
  const seen = new Set<string>();
  for (const { name } of entries) {
    const problem = name === METADATA_KEY ? "is reserved by the format" : nameProblem(name);
    if (problem) {
      throw new PenjingError(where, `the tensor name ${quote(name)} ${problem}; choose another.`);
    }
    if (seen.has(name)) {
      throw new PenjingError(where, `two tensors are named ${quote(name)}; names must differ.`);
    }
    seen.add(name);
  }
}

/** Characters that each name of a list takes in a message at most. */
const LISTED = 72;

/** A list of names for a message, the first few of many. */
export function listNames(names: readonly string[]): string {
  const shown = names
    .slice(0, 5)
    .map((name) => fit(name, LISTED))
    .join(", ");
  return names.length > 5 ? `${shown} and ${names.length - 5} more` : shown;
}

/** A safetensors file being written; its header is already there. */
export interface SafetensorsWriter {
  /** Writes a whole tensor; `bytes` are its little-endian elements, row-major. */
  write(name: string, bytes: Uint8Array): Promise<void>;
  /** Writes a part of a tensor from its byte `byteStart` on. Parts may come in any order. */
  writeRange(name: string, byteStart: number, bytes: Uint8Array): Promise<void>;
  /** Whether every byte of every tensor was given. */
  isComplete(): boolean;
  /** Checks that every tensor is complete and finishes the sink. */
  finish(): Promise<void>;
}

/** Which bytes of one tensor are written: disjoint ranges in ascending order. */
interface Slot {
  readonly name: string;
  readonly byteOffset: number;
  readonly byteLength: number;
  readonly ranges: [begin: number, end: number][];
  written: number;
}

/** Marks `[begin, end)` as written, or returns false when a byte of it already is. */
function claim(slot: Slot, begin: number, end: number): boolean {
  let at = slot.ranges.length;
  while (at > 0 && slot.ranges[at - 1][0] >= begin) at--;
  const before = slot.ranges[at - 1];
  const after = slot.ranges[at];
  if ((before && before[1] > begin) || (after && after[0] < end)) return false;
  if (before && before[1] === begin) before[1] = end;
  else slot.ranges.splice(at, 0, [begin, end]);
  slot.written += end - begin;
  return true;
}

/** The header bytes, padded with spaces so that the data begins at a multiple of 8. */
function makeHeader(
  where: string,
  entries: readonly TensorEntry[],
  slots: ReadonlyMap<string, Slot>,
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const parts: string[] = [];
  const keys = Object.keys(metadata).sort();
  if (keys.length > 0) {
    const pairs = keys.map((key) => `${JSON.stringify(key)}:${JSON.stringify(metadata[key])}`);
    parts.push(`${JSON.stringify(METADATA_KEY)}:{${pairs.join(",")}}`);
  }
  for (const { name, dtype, shape } of entries) {
    const { byteOffset, byteLength } = slots.get(name) as Slot;
    const entry = { dtype, shape, data_offsets: [byteOffset, byteOffset + byteLength] };
    parts.push(`${JSON.stringify(name)}:${JSON.stringify(entry)}`);
  }
  const json = new TextEncoder().encode(`{${parts.join(",")}}`);
  const length = Math.ceil(json.byteLength / 8) * 8;
  if (length > MAX_HEADER_BYTES) {
    throw new PenjingError(
      where,
      `its header would have ${length} bytes, more than the ${MAX_HEADER_BYTES} that readers accept; use smaller shards.`,
    );
  }
  const bytes = new Uint8Array(8 + length).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(json, 8);
  return bytes;
}

/**
 * Begins a safetensors file: lays out all tensors and writes the header. Tensors stand in the order
 * given, but wider dtypes first, so that each begins at a multiple of its element's bytes; they may
 * be written in any order. The file's bytes depend on the arguments and the tensors only.
 *
 * @param metadata texts for `__metadata__`, which is left out when there are none
 */
export async function writeSafetensors(
  sink: ByteSink,
  entries: readonly TensorEntry[],
  metadata: Readonly<Record<string, string>> = {},
): Promise<SafetensorsWriter> {
  checkNames(sink.name, entries);
  const ordered = [...entries].sort((a, b) => elementBytes(b) - elementBytes(a));
  const slots = new Map<string, Slot>();
  let total = 0;
  for (const entry of ordered) {
    const byteLength = byteLengthOf(entry);
    const slot = { name: entry.name, byteOffset: total, byteLength, ranges: [], written: 0 };
    slots.set(entry.name, slot);
    total += byteLength;
  }
  if (!Number.isSafeInteger(total)) {
    throw new PenjingError(sink.name, "its tensors have more than 2^53 bytes; use several files.");
  }
  const header = makeHeader(sink.name, ordered, slots, metadata);
  await sink.write(0, header);
  const whole = new Set<string>();

  const find = (name: string): Slot => {
    const slot = slots.get(name);
    if (slot) return slot;
    throw new PenjingError(sink.name, `the tensor ${quote(name)} was not announced for this file.`);
  };
  const put = async (slot: Slot, byteStart: number, bytes: Uint8Array): Promise<void> => {
    checkTensorRange(slot, byteStart, bytes.byteLength);
    if (whole.has(slot.name) || !claim(slot, byteStart, byteStart + bytes.byteLength)) {
      throw new PenjingError(
        `${sink.name}: ${slot.name}`,
        "a part of this tensor was written before; each byte is written once.",
      );
    }
    if (slot.written === slot.byteLength) whole.add(slot.name);
    if (bytes.byteLength > 0) {
      await sink.write(header.byteLength + slot.byteOffset + byteStart, bytes);
    }
  };
  return {
    async write(name, bytes) {
      const slot = find(name);
      if (bytes.byteLength !== slot.byteLength) {
        throw new PenjingError(
          `${sink.name}: ${name}`,
          `${bytes.byteLength} bytes were given for a tensor of ${slot.byteLength} bytes.`,
        );
      }
      await put(slot, 0, bytes);
    },
    async writeRange(name, byteStart, bytes) {
      await put(find(name), byteStart, bytes);
    },
    isComplete: () => whole.size === slots.size,
    async finish() {
      const missing = [...slots.keys()].filter((name) => !whole.has(name));
      if (missing.length > 0) {
        throw new PenjingError(
          sink.name,
          `${missing.length} of ${slots.size} tensors were not written in full: ${listNames(missing)}.`,
        );
      }
      await sink.finish();
    },
  };
}
