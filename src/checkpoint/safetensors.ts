import { nearest, PenjingError } from "../errors.js";
import { allocate, type ByteSource } from "../platform/files.js";
import { quote } from "../quote.js";
import { pacer, withRest } from "../run.js";
import type { StoredDType } from "../tensor.js";
import { DTYPE_BYTES, isStoredDType } from "./dtype.js";
import { lookalike } from "./foreign.js";
import { isJsonObject, type JsonObject, jsonSteps, own } from "./json.js";

/** Longest header accepted, in bytes: the limit of the reference implementation. */
export const MAX_HEADER_BYTES = 100_000_000;
/** Most tensors accepted in one file. The largest published models have fewer than 100,000. */
export const MAX_TENSORS = 1_000_000;
/** Most dimensions accepted; the frameworks that write these files stop at 64 or earlier. */
export const MAX_DIMENSIONS = 64;
/** Longest tensor name accepted, in UTF-16 code units. */
export const MAX_NAME_LENGTH = 4096;
/** Header, entry, and the shape or offsets in it. */
const MAX_HEADER_DEPTH = 3;
/** A tensor is read in pieces of this many bytes where the reading can be stopped. */
const PIECE_BYTES = 2 ** 24;
/** Entries of a header that are checked between looks at the clock. */
const ENTRIES = 1024;
/** The header key that holds free text about the file. */
export const METADATA_KEY = "__metadata__";

/** One tensor of a safetensors file. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  /** Where its first byte stands in the file. */
  readonly byteOffset: number;
  /** The product of `shape` times the bytes of an element. */
  readonly byteLength: number;
}

/** An open safetensors file: its checked header, and tensors by ranged reads. */
export interface SafetensorsFile {
  readonly name: string;
  /** In the order of their bytes. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** The `__metadata__` texts; no prototype. Empty when the file has none. */
  readonly metadata: Readonly<Record<string, string>>;
  /** All bytes of a tensor in a buffer of its own. */
  read(name: string): Promise<Uint8Array>;
  /** `byteLength` bytes of a tensor from its byte `byteStart` on, in a buffer of their own. */
  readRange(name: string, byteStart: number, byteLength: number): Promise<Uint8Array>;
  /** All bytes of tensors of this file that lie one after another, in this order, read at once. */
  readRun(infos: readonly TensorInfo[]): Promise<Uint8Array>;
  /** @throws PenjingError when the file was written to since it was opened */
  checkUnchanged(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens a safetensors file and checks its whole header before anything is believed: every length,
 * offset and shape agrees with the others and with the size of the file, tensors neither overlap
 * nor leave gaps. Only the header is read; tensors are read when asked for. `source` is closed if
 * the check fails.
 *
 * @param signal stops the opening, and the reading of large tensors
 *
 * Format: https://huggingface.co/docs/safetensors
 */
export async function openSafetensors(
  source: ByteSource,
  signal?: AbortSignal,
): Promise<SafetensorsFile> {
  try {
    const rest = pacer(signal);
    const { header, dataStart } = await readHeader(source, rest);
    const { tensors, metadata } = await checkHeader(source, header, dataStart, rest);
    return makeFile(source, tensors, metadata, signal);
  } catch (error) {
    await source.close();
    throw error;
  }
}

function makeFile(
  source: ByteSource,
  tensors: ReadonlyMap<string, TensorInfo>,
  metadata: Readonly<Record<string, string>>,
  signal: AbortSignal | undefined,
): SafetensorsFile {
  const find = (name: string): TensorInfo => {
    const info = tensors.get(name);
    if (info) return info;
    const near = nearest(name, [...tensors.keys()]);
    throw new PenjingError(
      source.name,
      `it has no tensor ${quote(name)}${near ? `; did you mean ${quote(near)}?` : "."}`,
    );
  };
  return {
    name: source.name,
    tensors,
    metadata,
    async read(name) {
      const { byteOffset, byteLength } = find(name);
      if (!signal || source.isRemote || byteLength <= PIECE_BYTES) {
        return source.read(byteOffset, byteLength);
      }
      const bytes = allocate(source.name, byteLength);
      for (let at = 0; at < byteLength; at += PIECE_BYTES) {
        signal.throwIfAborted();
        const length = Math.min(PIECE_BYTES, byteLength - at);
        bytes.set(await source.read(byteOffset + at, length), at);
      }
      return bytes;
    },
    async readRange(name, byteStart, byteLength) {
      const info = find(name);
      checkTensorRange(info, byteStart, byteLength);
      return source.read(info.byteOffset + byteStart, byteLength);
    },
    async readRun(infos) {
      const start = infos[0].byteOffset;
      let end = start;
      for (const { name, byteOffset, byteLength } of infos) {
        if (byteOffset !== end) {
          throw new PenjingError(
            source.name,
            `${quote(name)} does not follow the tensors before it in the file.`,
          );
        }
        end += byteLength;
      }
      return source.read(start, end - start);
    },
    checkUnchanged: async () => source.checkUnchanged?.(),
    close: () => source.close(),
  };
}

/** Refuses a range that is not inside a tensor of `info.byteLength` bytes. */
export function checkTensorRange(
  info: { readonly name: string; readonly byteLength: number },
  byteStart: number,
  byteLength: number,
): void {
  const valid =
    Number.isSafeInteger(byteStart) &&
    Number.isSafeInteger(byteLength) &&
    byteStart >= 0 &&
    byteLength >= 0 &&
    byteStart + byteLength <= info.byteLength;
  if (!valid) {
    throw new PenjingError(
      info.name,
      `${byteLength} bytes from byte ${byteStart} are not inside the tensor, which has ${info.byteLength} bytes.`,
    );
  }
}

async function readHeader(
  source: ByteSource,
  rest: () => Promise<void>,
): Promise<{ header: JsonObject; dataStart: number }> {
  const fail = (message: string): never => {
    throw new PenjingError(source.name, message);
  };
  if (source.size < 8) {
    fail(
      `it has ${source.size} bytes, but a safetensors file begins with 8 bytes of header length; fetch it again.`,
    );
  }
  const start = await source.read(0, 8);
  const text = String.fromCharCode(...start);
  const explanation = lookalike(text);
  if (explanation) fail(explanation);
  const wide = new DataView(start.buffer, start.byteOffset, 8).getBigUint64(0, true);
  if (wide > BigInt(MAX_HEADER_BYTES)) {
    fail(
      `its first 8 bytes claim a header of ${wide} bytes, more than the ${MAX_HEADER_BYTES} accepted; it is not a safetensors file or is damaged.`,
    );
  }
  const length = Number(wide);
  if (length < 2) fail(`its header has ${length} bytes, too few for {}; it is damaged.`);
  if (8 + length > source.size) {
    fail(
      `it claims a header of ${length} bytes, but only ${source.size - 8} bytes follow; it is cut short: fetch it again.`,
    );
  }
  const bytes = await source.read(8, length);
  if (bytes[0] !== 0x7b) fail("its header does not begin with {, so it is not a safetensors file.");
  let json: string;
  try {
    json = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw new PenjingError(source.name, "its header is not valid UTF-8; fetch it again.", {
      cause: error,
    });
  }
  const end = json.lastIndexOf("}");
  if (/[^ ]/.test(json.slice(end + 1))) {
    fail("its header ends with something other than } and spaces; it is damaged.");
  }
  await rest();
  const parsing = jsonSteps(json.slice(0, end + 1), source.name, MAX_HEADER_DEPTH, {
    digitsAlone: true,
  });
  const header = await withRest(parsing, rest);
  await rest();
  if (!isJsonObject(header)) return fail("its header is not a JSON object; it is damaged.");
  return { header, dataStart: 8 + length };
}

async function checkHeader(
  source: ByteSource,
  header: JsonObject,
  dataStart: number,
  rest: () => Promise<void>,
): Promise<Pick<SafetensorsFile, "tensors" | "metadata">> {
  const names = Object.keys(header).filter((name) => name !== METADATA_KEY);
  if (names.length > MAX_TENSORS) {
    throw new PenjingError(
      source.name,
      `it lists ${names.length} tensors, more than the ${MAX_TENSORS} accepted in one file.`,
    );
  }
  const infos: TensorInfo[] = [];
  for (const [i, name] of names.entries()) {
    if (i % ENTRIES === 0) await rest();
    infos.push(checkEntry(source, name, header[name], dataStart));
  }
  // Empty tensors before a full one at the same offset.
  infos.sort((a, b) => a.byteOffset - b.byteOffset || a.byteLength - b.byteLength);
  await rest();
  checkCoverage(source, infos, dataStart);
  await rest();
  return {
    tensors: new Map(infos.map((info) => [info.name, info])),
    metadata: checkMetadata(source, own(header, METADATA_KEY)),
  };
}

function checkMetadata(source: ByteSource, value: unknown): Readonly<Record<string, string>> {
  const metadata: Record<string, string> = Object.create(null);
  if (value === undefined) return metadata;
  if (!isJsonObject(value)) {
    throw new PenjingError(
      source.name,
      `${METADATA_KEY} must be an object of texts, found ${quote(value)}.`,
    );
  }
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== "string") {
      throw new PenjingError(
        source.name,
        `${METADATA_KEY} must hold texts only, but ${quote(key)} is ${quote(text)}.`,
      );
    }
    metadata[key] = text;
  }
  return metadata;
}

/** Why a tensor name is refused, or undefined. */
export function nameProblem(name: string): string | undefined {
  if (name.length === 0) return "is empty";
  if (name.length > MAX_NAME_LENGTH) return `is longer than ${MAX_NAME_LENGTH} characters`;
  if (name.includes("\0")) return "has a NUL character";
  if (/\p{Surrogate}/u.test(name)) return "has half a surrogate pair, which UTF-8 cannot store";
  return undefined;
}

/** Number of elements of a shape from outside, or the reason why it is not one. */
export function countElements(shape: unknown): number | string {
  if (!Array.isArray(shape)) return `its shape must be a list, found ${quote(shape)}`;
  if (shape.length > MAX_DIMENSIONS) {
    return `its shape has ${shape.length} dimensions, more than the ${MAX_DIMENSIONS} accepted`;
  }
  for (const dimension of shape) {
    if (!Number.isSafeInteger(dimension) || dimension < 0) {
      return `its shape must hold whole numbers from 0 to 2^53 - 1, found ${quote(dimension)}`;
    }
  }
  if (shape.includes(0)) return 0;
  let product = 1;
  for (const dimension of shape) {
    // Both factors are exact and at least 1, so a product that rounds is above the limit too.
    product *= dimension;
    if (product > Number.MAX_SAFE_INTEGER) return `its shape ${quote(shape)} overflows 2^53`;
  }
  return product;
}

const ENTRY_KEYS: readonly string[] = ["dtype", "shape", "data_offsets"];

function checkEntry(
  source: ByteSource,
  name: string,
  entry: unknown,
  dataStart: number,
): TensorInfo {
  const fail = (message: string): never => {
    throw new PenjingError(`${source.name}: ${quote(name)}`, `${message}; the file is damaged.`);
  };
  const problem = nameProblem(name);
  if (problem) fail(`its name ${problem}`);
  if (!isJsonObject(entry))
    return fail(`its header entry must be an object, found ${quote(entry)}`);
  for (const key of Object.keys(entry)) {
    if (!ENTRY_KEYS.includes(key)) fail(`its header entry has the unknown key ${quote(key)}`);
  }
  for (const key of ENTRY_KEYS) {
    if (!Object.hasOwn(entry, key)) fail(`its header entry has no ${quote(key)}`);
  }
  const { dtype, shape, data_offsets: offsets } = entry;
  if (!isStoredDType(dtype)) {
    throw new PenjingError(
      `${source.name}: ${quote(name)}`,
      `its dtype is ${quote(dtype)}; dtypes read here are ${Object.keys(DTYPE_BYTES).join(", ")}: convert the tensor to one of them.`,
    );
  }
  const count = countElements(shape);
  if (typeof count === "string") return fail(count);
  if (
    !Array.isArray(offsets) ||
    offsets.length !== 2 ||
    !offsets.every((offset) => Number.isSafeInteger(offset) && offset >= 0)
  ) {
    return fail(`its data_offsets must be two whole numbers, found ${quote(offsets)}`);
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end) fail(`its data_offsets end before they begin: ${begin} to ${end}`);
  const dataBytes = source.size - dataStart;
  if (end > dataBytes) {
    throw new PenjingError(
      `${source.name}: ${quote(name)}`,
      `its data ends at byte ${end}, but the file has ${dataBytes} bytes of data; it is cut short: fetch it again.`,
    );
  }
  const byteLength = count * DTYPE_BYTES[dtype];
  if (end - begin !== byteLength) {
    fail(
      `its shape ${quote(shape)} of ${dtype} needs ${byteLength} bytes, but its data_offsets hold ${end - begin}`,
    );
  }
  return { name, dtype, shape: shape as number[], byteOffset: dataStart + begin, byteLength };
}

/** Refuses overlaps, gaps and bytes after the last tensor; `tensors` are in order of offset. */
function checkCoverage(
  source: ByteSource,
  tensors: readonly TensorInfo[],
  dataStart: number,
): void {
  let covered = dataStart;
  let previous: TensorInfo | undefined;
  for (const tensor of tensors) {
    const at = `${source.name}: ${quote(tensor.name)}`;
    if (tensor.byteOffset < covered) {
      throw new PenjingError(
        at,
        `its bytes overlap those of ${quote(previous?.name)}; the file is damaged.`,
      );
    }
    if (tensor.byteOffset > covered) {
      throw new PenjingError(
        at,
        `${tensor.byteOffset - covered} bytes before it belong to no tensor; the file is damaged.`,
      );
    }
    covered += tensor.byteLength;
    previous = tensor;
  }
  if (covered !== source.size) {
    throw new PenjingError(
      source.name,
      `${source.size - covered} bytes after the last tensor belong to no tensor; the file is damaged.`,
    );
  }
}
