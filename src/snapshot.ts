/**
 * States of long work that outlive the process: facts as JSON, and arrays of numbers. Written as
 *
 *   8 bytes   length of the header, little-endian
 *   header    UTF-8 JSON: { facts, arrays: [{ name, type, length }, ...] }
 *   arrays    one after another, each at a multiple of 8 bytes from the header's end
 */
import { PenjingError } from "./errors.js";
import { aligned } from "./tensor.js";

const TYPES = { Uint8Array, Int32Array, Float32Array, Float64Array } as const;
type TypeName = keyof typeof TYPES;
const TYPE_NAMES = Object.keys(TYPES) as TypeName[];
export type SnapshotArray = Uint8Array | Int32Array | Float32Array | Float64Array;

export interface Snapshot {
  /** Anything that JSON keeps. */
  readonly facts: Readonly<Record<string, unknown>>;
  readonly arrays: ReadonlyMap<string, SnapshotArray>;
}

/** Where a long optimisation keeps its state, so that an interrupted one goes on where it was. */
export interface Keeper {
  /** The state that was kept last; undefined at a first start. */
  load(): Promise<Snapshot | undefined>;
  /** Whether enough time has passed since the last `save` for another. */
  isDue(): boolean;
  save(snapshot: Snapshot): Promise<void>;
}

interface Header {
  readonly facts: Snapshot["facts"];
  readonly arrays: readonly { name: string; type: TypeName; length: number }[];
}

function padded(bytes: number): number {
  return Math.ceil(bytes / 8) * 8;
}

/** @param room bytes to leave free before the snapshot, a multiple of 8. @default 0 */
export function encodeSnapshot({ facts, arrays }: Snapshot, room = 0): Uint8Array {
  const entries = [...arrays].map(([name, array]) => {
    const type = TYPE_NAMES.find((one) => array instanceof TYPES[one])!;
    return { name, type, length: array.length };
  });
  const text = new TextEncoder().encode(JSON.stringify({ facts, arrays: entries }));
  const start = room + padded(8 + text.length);
  const total = [...arrays.values()].reduce((sum, array) => sum + padded(array.byteLength), start);
  const bytes = new Uint8Array(total);
  new DataView(bytes.buffer).setBigUint64(room, BigInt(text.length), true);
  bytes.set(text, room + 8);
  let at = start;
  for (const array of arrays.values()) {
    bytes.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength), at);
    at += padded(array.byteLength);
  }
  return bytes;
}

/**
 * @param bytes which the arrays become views of
 * @param where the file, for the message
 * @throws PenjingError when the bytes are not a whole snapshot
 */
export function decodeSnapshot(bytes: Uint8Array, where: string): Snapshot {
  try {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const length = Number(view.getBigUint64(0, true));
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(8, 8 + length));
    const { facts, arrays } = JSON.parse(text) as Header;
    let at = padded(8 + length);
    const read = arrays.map(({ name, type, length: count }) => {
      const size = count * TYPES[type].BYTES_PER_ELEMENT;
      const part = aligned(bytes.subarray(at, at + size), 8);
      if (part.length !== size) throw new RangeError("length");
      at += padded(size);
      return [name, new TYPES[type](part.buffer, part.byteOffset, count)] as const;
    });
    if (at !== bytes.byteLength) throw new RangeError("length");
    return { facts, arrays: new Map(read) };
  } catch (cause) {
    throw new PenjingError(
      where,
      "it is damaged and cannot be read; delete the folder and begin anew.",
      { cause },
    );
  }
}
